//! What an open repository says.

use std::sync::{Arc, Mutex};

use snap_backup::{Control, Event};

/// Hears the warnings of the repositories that are opened with its control, each once.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    pub fn control(&self) -> Control<'static> {
        let heard = Arc::clone(&self.0);
        Control::shared(move |event: Event<'_>| {
            if let Event::Warning(text) = event {
                let mut heard = heard.lock().unwrap();
                if !heard.iter().any(|known| known == text) {
                    heard.push(text.to_owned());
                }
            }
        })
    }

    /// Returns the warnings since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}
