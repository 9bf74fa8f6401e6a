//! Recovery keys: passwords of 24 words with a checksum, to be printed and stored safely. They encode 256
//! random bits as BIP 39 does (<https://github.com/bitcoin/bips/blob/master/bip-0039.mediawiki>), in English.

use bip39::{Language, Mnemonic};
use snap_backup::codec::crypto::cipher;
use snap_backup::{Error, Result};
use zeroize::Zeroizing;

use super::Password;

/// Number of words of a recovery key.
const WORDS: usize = 24;

/// Returns a new random recovery key: words with single spaces between them.
///
/// # Errors
/// The system's random generator fails.
pub(crate) fn new() -> Result<Password> {
    let mut entropy = Zeroizing::new([0u8; 32]);
    cipher::random(entropy.as_mut()).map_err(Error::making("a recovery key"))?;
    let words = Mnemonic::from_entropy(entropy.as_ref());
    let words = words.map_err(|_| Error::Bug { what: "a recovery key encodes 32 bytes" })?;
    Ok(Zeroizing::new(words.to_string()))
}

/// Returns the password as it was given out, if it is a recovery key that was typed with other spaces or
/// capitals. Any other password is returned as it is.
pub(super) fn normalize(password: Password) -> Password {
    if password.split_whitespace().count() != WORDS {
        return password;
    }
    let words: Vec<&str> = password.split_whitespace().collect();
    let lower = Zeroizing::new(words.join(" ").to_lowercase());
    match Mnemonic::parse_in_normalized(Language::English, &lower) {
        Ok(_) => lower,
        Err(_) => password,
    }
}

/// Returns why a password that looks like a recovery key is not valid.
pub(crate) fn typing_error(password: &str) -> Option<String> {
    let lower = Zeroizing::new(password.to_lowercase());
    let words: Vec<&str> = lower.split_whitespace().collect();
    let list = Language::English.word_list();
    let unknown = words.iter().position(|word| !list.contains(word));
    let known = words.iter().filter(|word| list.contains(word)).count();
    if words.len() + 2 < WORDS || known + 3 < words.len() {
        return None;
    }
    match (unknown, words.len()) {
        (Some(at), _) => Some(format!("word {} is not in the list of words of recovery keys", at + 1)),
        (None, WORDS) => match Mnemonic::parse_in_normalized(Language::English, &words.join(" ")) {
            Err(_) => Some("a word of the recovery key is wrong, or two words are swapped".to_owned()),
            Ok(_) => None,
        },
        (None, number) => Some(format!("a recovery key has {WORDS} words, not {number}")),
    }
}

/// Returns the words in rows of four, with numbers.
pub(crate) fn table(words: &str) -> String {
    let numbered: Vec<String> =
        words.split(' ').zip(1..).map(|(word, number)| format!("{number:>4} {word:<9}")).collect();
    let rows = numbered.chunks(4).map(|row| row.concat().trim_end().to_owned());
    rows.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the vectors of BIP 39: 32 bytes of 0x7f.
    const VECTOR: &str = "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth \
                          useful legal winner thank year wave sausage worth title";

    fn password(text: &str) -> Password {
        Zeroizing::new(text.to_owned())
    }

    #[test]
    fn recovery_key_ignores_spacing_and_case() {
        let typed = VECTOR.to_uppercase().replace(' ', " \t") + "\n";
        assert_eq!(*normalize(password(&typed)), VECTOR);
        for other in ["", "correct horse battery staple", &VECTOR.replace("title", "Thank")] {
            assert_eq!(*normalize(password(other)), other);
        }
    }

    #[test]
    fn every_new_recovery_key_has_24_words_and_differs() {
        let (one, two) = (new().unwrap(), new().unwrap());
        assert!(one != two && one.split(' ').count() == WORDS);
        assert_eq!((typing_error(&one), normalize(one.clone())), (None, one));
    }

    #[test]
    fn typo_in_a_recovery_key_is_named_other_passwords_untouched() {
        let wrong = |text: &str| typing_error(text).unwrap();
        assert!(wrong(&VECTOR.replacen("sausage", "sausige", 1)).contains("word 6 "));
        assert!(wrong(&VECTOR.replace("title", "thank")).contains("wrong"));
        assert!(wrong(VECTOR.rsplit_once(' ').unwrap().0).contains("not 23"));
        assert_eq!(
            (typing_error(VECTOR), typing_error("secret"), typing_error("correct horse battery staple")),
            (None, None, None)
        );
    }

    #[test]
    fn the_words_are_printed_in_rows_of_four() {
        let table = table(VECTOR);
        assert_eq!(table.lines().count(), 6);
        assert_eq!(table.lines().next(), Some("   1 legal       2 winner      3 thank       4 year"));
    }
}
