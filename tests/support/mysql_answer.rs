//! What a MySQL server answers, taken apart for tests. Panics on what no sound server sends.

/// Another result follows.
pub const MORE_RESULTS: u16 = 0x0008;
pub const IN_TRANSACTION: u16 = 0x0001;
pub const AUTOCOMMIT: u16 = 0x0002;
const CURSOR_EXISTS: u16 = 0x0040;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Ok {
        affected: u64,
        insert_id: u64,
        status: u16,
        warnings: u16,
        /// Words and session state, as they came.
        rest: Vec<u8>,
    },
    Error(ServerError),
    Rows(Rows),
    /// The server wants this file of the client's.
    LocalFile(String),
    Prepared {
        id: u32,
        columns: u16,
        parameters: u16,
    },
    /// An EOF packet alone, with its status.
    End(u16),
    Closed(std::io::ErrorKind),
}

impl Answer {
    pub(super) fn ok(packet: &[u8]) -> Self {
        let mut cursor = Cursor::new(packet);
        cursor.u8();
        Self::Ok {
            affected: cursor.lenenc().expect("a number"),
            insert_id: cursor.lenenc().expect("a number"),
            status: cursor.u16(),
            warnings: cursor.u16(),
            rest: cursor.rest().to_vec(),
        }
    }

    pub fn status(&self) -> Option<u16> {
        match self {
            Answer::Ok { status, .. } | Answer::End(status) => Some(*status),
            Answer::Rows(rows) if rows.error.is_none() => Some(rows.status),
            Answer::Rows(_)
            | Answer::Error(_)
            | Answer::LocalFile(_)
            | Answer::Prepared { .. }
            | Answer::Closed(_) => None,
        }
    }

    pub fn is_ok(&self) -> bool {
        matches!(self, Answer::Ok { .. })
    }

    /// The error, alone or behind rows.
    pub fn error(&self) -> Option<&ServerError> {
        match self {
            Answer::Error(error) => Some(error),
            Answer::Rows(rows) => rows.error.as_ref(),
            _ => None,
        }
    }

    pub fn rows(&self) -> &Rows {
        match self {
            Answer::Rows(rows) => rows,
            other => panic!("no rows: {other:?}"),
        }
    }

    /// The id of a prepared statement.
    pub fn statement(&self) -> u32 {
        match self {
            Answer::Prepared { id, .. } => *id,
            other => panic!("not prepared: {other:?}"),
        }
    }
}

/// A result's definitions and rows, as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    pub columns: Vec<Vec<u8>>,
    pub rows: Vec<Vec<u8>>,
    pub status: u16,
    /// What ended it too early.
    pub error: Option<ServerError>,
}

impl Rows {
    pub fn has_cursor(&self) -> bool {
        self.status & CURSOR_EXISTS != 0
    }

    /// The values of text rows; NULL is `None`.
    pub fn texts(&self) -> Vec<Vec<Option<String>>> {
        self.rows
            .iter()
            .map(|row| {
                let mut cursor = Cursor::new(row);
                let mut values = Vec::new();
                while !cursor.is_at_end() {
                    let value = cursor.lenenc().map(|length| {
                        let bytes = cursor.take(usize::try_from(length).expect("in memory"));
                        String::from_utf8_lossy(bytes).into_owned()
                    });
                    values.push(value);
                }
                values
            })
            .collect()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    pub number: u16,
    pub state: String,
    pub message: String,
}

impl ServerError {
    pub fn read(packet: &[u8]) -> Self {
        let mut cursor = Cursor::new(packet);
        assert_eq!(cursor.u8(), 0xff, "an error: {packet:02x?}");
        let number = cursor.u16();
        let rest = cursor.rest();
        // Before the log-in there is no state.
        let (state, message) = match rest {
            [b'#', rest @ ..] if rest.len() >= 5 => rest.split_at(5),
            rest => (&b""[..], rest),
        };
        Self {
            number,
            state: String::from_utf8_lossy(state).into_owned(),
            message: String::from_utf8(message.to_vec()).expect("UTF-8"),
        }
    }

    /// Whether the proxy says it, and not the server.
    pub fn is_ours(&self) -> bool {
        self.message.starts_with("countersign")
    }
}

pub(super) fn eof_status(packet: &[u8]) -> u16 {
    let mut cursor = Cursor::new(packet);
    assert_eq!(cursor.u8(), 0xfe, "an EOF: {packet:02x?}");
    cursor.u16();
    cursor.u16()
}

/// The first column of the first row of the first result.
pub fn value(answers: &[Answer]) -> String {
    let rows = answers.first().expect("an answer").rows().texts();
    let value = rows.first().and_then(|row| row.first().cloned());
    value
        .unwrap_or_else(|| panic!("no row: {answers:?}"))
        .unwrap_or_else(|| "NULL".to_owned())
}

/// The one error among them.
pub fn error(answers: &[Answer]) -> ServerError {
    let errors: Vec<_> = answers.iter().filter_map(Answer::error).collect();
    assert_eq!(errors.len(), 1, "one error expected: {answers:?}");
    errors[0].clone()
}

/// Reads little-endian numbers and texts off the front.
pub(super) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    pub fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take(2).try_into().expect("two bytes"))
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().expect("four bytes"))
    }

    /// A number of one to nine bytes; `None` is NULL.
    pub fn lenenc(&mut self) -> Option<u64> {
        let wide = |bytes: &[u8]| {
            bytes
                .iter()
                .rev()
                .fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        match self.u8() {
            0xfb => None,
            0xfc => Some(wide(self.take(2))),
            0xfd => Some(wide(self.take(3))),
            0xfe => Some(wide(self.take(8))),
            small => Some(u64::from(small)),
        }
    }

    /// Up to a NUL, or to the end.
    pub fn text_to_nul(&mut self) -> String {
        let length = self.0.iter().position(|byte| *byte == 0);
        let text = self.take(length.unwrap_or(self.0.len()));
        if length.is_some() {
            self.take(1);
        }
        String::from_utf8_lossy(text).into_owned()
    }
}
