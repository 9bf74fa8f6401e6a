# nix build ./packaging/nix, from a checkout.
{
  description = "Encrypted, deduplicated, compressed backups of directories";
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      each = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
      source = ../..;
    in {
      packages = each (pkgs: {
        default = pkgs.rustPlatform.buildRustPackage {
          pname = "snap-backup";
          version = (nixpkgs.lib.importTOML "${source}/Cargo.toml").package.version;
          src = source;
          cargoLock.lockFile = "${source}/Cargo.lock";
          buildType = "dist";
          # The tests mount, trace and kill, which the sandbox does not allow.
          doCheck = false;
          nativeBuildInputs = [ pkgs.installShellFiles ];
          postInstall = ''
            mv $out/bin/snap $out/bin/snap-backup
            $out/bin/snap-backup --quiet man $out/share/man/man1
            installShellCompletion --cmd snap-backup \
              --bash <($out/bin/snap-backup completions bash) \
              --zsh <($out/bin/snap-backup completions zsh) \
              --fish <($out/bin/snap-backup completions fish)
          '';
          meta = {
            description = "Encrypted, deduplicated, compressed backups of directories";
            license = with nixpkgs.lib.licenses; [ mit asl20 ];
            mainProgram = "snap-backup";
            platforms = systems;
          };
        };
      });
    };
}
