//! Cuts a PTX text into words, marks and strings.

use crate::error::{Error, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'t> {
    /// Identifiers, directives, opcodes and numbers: letters, digits, `_ . $ %` and `::`.
    Word(&'t str),
    Mark(u8),
    Text(&'t str),
    End,
}

/// Reads tokens one after the other.
pub(crate) struct Tokens<'t> {
    text: &'t str,
    at: usize,
    line: u32,
    file: &'t str,
}

impl<'t> Tokens<'t> {
    pub fn new(file: &'t str, text: &'t str) -> Tokens<'t> {
        Tokens { text, at: 0, line: 1, file }
    }

    /// The line of the token that was read last.
    pub fn line(&self) -> u32 {
        self.line
    }

    pub fn error(&self, reason: impl Into<String>) -> Error {
        Error::Text { file: self.file.to_owned(), line: self.line, reason: reason.into() }
    }

    pub fn peek(&mut self) -> Result<Token<'t>> {
        let (at, line) = (self.at, self.line);
        let token = self.next()?;
        (self.at, self.line) = (at, line);
        Ok(token)
    }

    pub fn next(&mut self) -> Result<Token<'t>> {
        self.skip_space()?;
        let bytes = self.text.as_bytes();
        let Some(&first) = bytes.get(self.at) else { return Ok(Token::End) };
        let start = self.at;
        if first == b'"' {
            let length = self.text[start + 1..].find('"').ok_or_else(|| self.error("a string without an end"))?;
            self.at = start + length + 2;
            return Ok(Token::Text(&self.text[start + 1..start + 1 + length]));
        }
        let mut end = start;
        while let Some(&byte) = bytes.get(end) {
            if is_word(byte) {
                end += 1;
            } else if byte == b':' && bytes.get(end + 1) == Some(&b':') && end > start {
                end += 2;
            } else {
                break;
            }
        }
        self.at = end.max(start + 1);
        Ok(if end > start { Token::Word(&self.text[start..end]) } else { Token::Mark(first) })
    }

    fn skip_space(&mut self) -> Result<()> {
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            let rest = &bytes[self.at..];
            if byte == b'\n' {
                self.line += 1;
                self.at += 1;
            } else if byte.is_ascii_whitespace() {
                self.at += 1;
            } else if rest.starts_with(b"//") {
                self.at += rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
            } else if rest.starts_with(b"/*") {
                let length = rest.windows(2).position(|pair| pair == b"*/");
                let length = length.ok_or_else(|| self.error("a comment without an end"))? + 2;
                self.line += rest[..length].iter().filter(|&&b| b == b'\n').count() as u32;
                self.at += length;
            } else {
                break;
            }
        }
        Ok(())
    }

    pub fn accept(&mut self, mark: u8) -> Result<bool> {
        let is = self.peek()? == Token::Mark(mark);
        if is {
            self.next()?;
        }
        Ok(is)
    }

    pub fn expect(&mut self, mark: u8) -> Result<()> {
        match self.next()? {
            Token::Mark(found) if found == mark => Ok(()),
            found => Err(self.error(format!("`{}` is expected, found {}", mark as char, found.shown()))),
        }
    }

    pub fn word(&mut self) -> Result<&'t str> {
        match self.next()? {
            Token::Word(word) => Ok(word),
            found => Err(self.error(format!("a word is expected, found {}", found.shown()))),
        }
    }

    /// Reads an integer, with its sign.
    pub fn integer(&mut self) -> Result<i64> {
        let negative = self.accept(b'-')?;
        let word = self.word()?;
        let value = integer(word).ok_or_else(|| self.error(format!("`{word}` is no number")))?;
        Ok(if negative { value.wrapping_neg() } else { value })
    }

    /// Skips a block, whose `{` is the next token.
    pub fn skip_block(&mut self) -> Result<()> {
        self.expect(b'{')?;
        let mut depth = 1;
        while depth > 0 {
            match self.next()? {
                Token::Mark(b'{') => depth += 1,
                Token::Mark(b'}') => depth -= 1,
                Token::End => return Err(self.error("a block without an end")),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Token<'_> {
    pub fn shown(self) -> String {
        match self {
            Token::Word(word) => format!("`{word}`"),
            Token::Mark(mark) => format!("`{}`", mark as char),
            Token::Text(text) => format!("\"{text}\""),
            Token::End => "the end".into(),
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'$' | b'%')
}

/// The value of an unsigned literal: decimal, hexadecimal, octal or binary, with or without `U`.
pub(crate) fn integer(word: &str) -> Option<i64> {
    let word = word.strip_suffix('U').unwrap_or(word);
    let of = |digits: &str, radix| u64::from_str_radix(digits, radix).ok().map(|value| value as i64);
    if let Some(digits) = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        of(digits, 16)
    } else if let Some(digits) = word.strip_prefix("0b").or_else(|| word.strip_prefix("0B")) {
        of(digits, 2)
    } else if word.len() > 1 && word.starts_with('0') {
        of(&word[1..], 8)
    } else {
        of(word, 10)
    }
}
