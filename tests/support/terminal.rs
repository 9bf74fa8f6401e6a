//! The program on a pseudo-terminal: typed input, and the content of the screen.

use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// Nothing takes this long unless something is broken.
const PATIENCE: Duration = Duration::from_secs(120);

fn at_least_one(cells: u16) -> NonZeroU16 {
    NonZeroU16::new(cells).unwrap()
}

/// A screen, and the program that writes to it.
pub struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    master: Box<dyn MasterPty + Send>,
    screen: Arc<Mutex<vt100::Parser>>,
    reader: thread::JoinHandle<()>,
}

impl Terminal {
    /// Starts the program in `dir` with these arguments and only these variables.
    pub fn start(dir: &Path, size: (u16, u16), vars: &[(&str, &str)], args: &[&str]) -> Self {
        let (columns, rows) = size;
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_snap"));
        command.args(args);
        command.cwd(dir);
        command.env_clear();
        command.env("TERM", "xterm-256color");
        for (name, value) in vars {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command).unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(at_least_one(rows), at_least_one(columns), 0)));
        let (mut output, written) = (pair.master.try_clone_reader().unwrap(), Arc::clone(&screen));
        let reader = thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read) = output.read(&mut bytes) {
                if read == 0 {
                    break;
                }
                written.lock().unwrap().process(&bytes[..read]);
            }
        });
        let keys = pair.master.take_writer().unwrap();
        Self { child, keys, master: pair.master, screen, reader }
    }

    /// Returns the text on the screen, without blanks at the ends of lines.
    pub fn text(&self) -> String {
        let contents = self.screen.lock().unwrap().screen().contents();
        contents.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }

    /// Types.
    pub fn send(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits until the screen satisfies the condition, and returns it.
    pub fn wait_until(&mut self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let begin = Instant::now();
        loop {
            let text = self.text();
            if is_so(&text) {
                return text;
            }
            assert!(begin.elapsed() < PATIENCE, "{what} did not come:\n{text}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until these words are on the screen.
    pub fn wait_for(&mut self, words: &str) -> String {
        self.wait_until(words, |text| text.contains(words))
    }

    /// Resizes the window.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(at_least_one(rows), at_least_one(columns));
        self.master.resize(PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }).unwrap();
    }

    /// Returns the colour of words on the screen.
    pub fn colour_of(&self, words: &str) -> vt100::Color {
        let parser = self.screen.lock().unwrap();
        let screen = parser.screen();
        let (_, columns) = screen.size();
        let rows: Vec<String> = screen.rows(0, columns.get()).collect();
        let found = rows.iter().enumerate().find_map(|(row, text)| Some((row, text.find(words)?)));
        let (row, column) = found.unwrap_or_else(|| panic!("no {words} in {rows:?}"));
        screen.cell(row as u16, column as u16).unwrap().fgcolor()
    }

    /// Waits for the end of the program. Returns its exit code, and the final screen.
    pub fn finish(mut self) -> (u32, String) {
        let code = self.wait();
        drop(self.keys);
        drop(self.master);
        // A process that another test started meanwhile may have inherited the other side of the terminal,
        // which then has no end. What the program wrote before its own end is here long before this.
        let begin = Instant::now();
        while !self.reader.is_finished() && begin.elapsed() < Duration::from_secs(5) {
            thread::sleep(Duration::from_millis(5));
        }
        let contents = self.screen.lock().unwrap().screen().contents();
        (code, contents.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"))
    }

    /// Waits for the end of the program, and returns its exit code.
    pub fn end(mut self) -> u32 {
        self.wait()
    }

    fn wait(&mut self) -> u32 {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.exit_code();
            }
            if begin.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("the program did not end:\n{}", self.text());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}
