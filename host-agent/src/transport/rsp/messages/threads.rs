//! `qfThreadInfo`, `qsThreadInfo`, `Hg`: the stub's threads are the guest's vCPUs.

use super::{AnswerError, failure};

/// Asks for the first page of threads.
pub const FIRST: &[u8] = b"qfThreadInfo";
/// Asks for the next page.
pub const NEXT: &[u8] = b"qsThreadInfo";
/// Most vCPUs listed.
pub const MAX_THREADS: usize = 4096;

/// A vCPU as the stub names it, such as `p01.02`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread(String);

impl Thread {
    /// The stub's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes it the thread that `g` and `p` read.
    #[must_use]
    pub fn select(&self) -> Vec<u8> {
        format!("Hg{}", self.0).into_bytes()
    }
}

/// Appends a page of threads; true when it was the last.
///
/// # Errors
/// [`AnswerError`] for anything that is no list, and past [`MAX_THREADS`].
pub fn page(answer: &[u8], threads: &mut Vec<Thread>) -> Result<bool, AnswerError> {
    match answer {
        b"l" => Ok(true),
        [b'm', list @ ..] => {
            for name in list.split(|b| *b == b',') {
                let plain = |b: &u8| b.is_ascii_hexdigit() || *b == b'p' || *b == b'.';
                let fits = !name.is_empty() && name.len() <= 40 && name.iter().all(plain);
                if !fits || threads.len() >= MAX_THREADS {
                    return Err(failure(list));
                }
                threads.push(Thread(String::from_utf8_lossy(name).into_owned()));
            }
            Ok(false)
        }
        other => Err(failure(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_two_pages_is_read() {
        let mut threads = Vec::new();
        assert_eq!(page(b"mp01.01,p01.02", &mut threads), Ok(false));
        assert_eq!(page(b"l", &mut threads), Ok(true));
        assert_eq!(threads.last().unwrap().select(), b"Hgp01.02");
        assert!(page(b"mp01;Z", &mut threads).is_err());
    }
}
