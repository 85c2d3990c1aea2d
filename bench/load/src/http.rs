//! Where an HTTP answer ends: just enough of the protocol for answers with a `Content-Length`.

use std::io;

/// What is asked, again and again.
pub(crate) const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n";

const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Reads one answer after the other.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    head: Vec<u8>,
    body_left: Option<usize>,
}

impl Answer {
    /// Takes what arrived, and returns whether the answer ends with it.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let body = match &mut self.body_left {
            Some(left) => {
                *left = left
                    .checked_sub(bytes.len())
                    .ok_or_else(|| wrong("too long a body"))?;
                *left
            }
            None => match self.take_head(bytes)? {
                Some(left) => *self.body_left.insert(left),
                None => return Ok(false),
            },
        };
        if body > 0 {
            return Ok(false);
        }
        self.head.clear();
        self.body_left = None;
        Ok(true)
    }

    /// The bytes of the body that are still to come, once the head is complete.
    fn take_head(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        self.head.extend_from_slice(bytes);
        let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else {
            if self.head.len() > HEAD_BYTES_MAX {
                return Err(wrong("too long a head"));
            }
            return Ok(None);
        };
        let head = String::from_utf8_lossy(&self.head[..end]).to_ascii_lowercase();
        if !head.starts_with("http/1.1 200 ") {
            return Err(wrong("a status other than 200"));
        }
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length
            .and_then(|text| text.trim().parse().ok())
            .ok_or_else(|| wrong("no Content-Length"))?;
        let came = self.head.len() - end - 4;
        let left = length
            .checked_sub(came)
            .ok_or_else(|| wrong("too long a body"))?;
        Ok(Some(left))
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer has {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

    #[test]
    fn an_answer_ends_with_its_last_byte_however_it_is_cut() {
        let mut answer = Answer::default();
        for cut in 1..WHOLE.len() {
            let (first, second) = WHOLE.split_at(cut);
            assert!(!answer.take(first).expect("the head is right"));
            assert!(
                answer.take(second).expect("the body is right"),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let late = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n";
        assert!(Answer::default().take(late).is_err());
        let mut longer = WHOLE.to_vec();
        longer.push(b'!');
        assert!(Answer::default().take(&longer).is_err());
    }
}
