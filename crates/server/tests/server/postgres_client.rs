//! A client of PostgreSQL's protocol that can say anything: messages as they are, whole or not.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::PATIENCE;

/// The version of the protocol.
pub(crate) const VERSION: i32 = 196_608;
pub(crate) const CANCEL: i32 = 80_877_102;
pub(crate) const TLS: i32 = 80_877_103;

/// A connection that has started.
pub(crate) struct Client<S = TcpStream> {
    stream: S,
    /// The process and the secret.
    pub(crate) key: (i32, i32),
    pub(crate) told: Vec<(String, String)>,
}

/// A value as it was sent.
pub(crate) type Value = Option<Vec<u8>>;

/// An error as it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) severity: String,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) position: Option<usize>,
}

/// What was answered up to the mark that the server is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Names and types.
    pub(crate) columns: Vec<(String, u32)>,
    pub(crate) rows: Vec<Vec<Value>>,
    /// What was said at the end of each statement.
    pub(crate) tags: Vec<String>,
    pub(crate) failures: Vec<Failure>,
    pub(crate) notices: Vec<Failure>,
    /// The types of parameters.
    pub(crate) parameters: Vec<u32>,
    /// The messages that came, by their tags.
    pub(crate) messages: String,
    pub(crate) status: char,
}

impl Answer {
    /// The rows as text; `NULL` of nulls.
    pub(crate) fn texts(&self) -> Vec<Vec<String>> {
        let text = |value: &Value| {
            value.as_ref().map_or_else(|| "NULL".to_owned(), |value| String::from_utf8(value.clone()).unwrap())
        };
        self.rows.iter().map(|row| row.iter().map(text).collect()).collect()
    }

    /// The code of the only failure.
    pub(crate) fn code(&self) -> &str {
        assert_eq!(self.failures.len(), 1, "{self:?}");
        &self.failures[0].code
    }

    /// The same, of what must not have failed.
    pub(crate) fn good(self) -> Self {
        assert!(self.failures.is_empty(), "{:?}", self.failures);
        self
    }
}

/// The first message of a client that says `pairs` of itself.
pub(crate) fn startup(version: i32, pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    framed(&body)
}

/// `body` after its length.
pub(crate) fn framed(body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len() + 4).unwrap();
    [&length.to_be_bytes(), body].concat()
}

/// A message.
pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag], framed(body).as_slice()].concat()
}

fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

pub(crate) fn query(statement: &str) -> Vec<u8> {
    message(b'Q', &text(statement))
}

pub(crate) fn parse(name: &str, statement: &str, types: &[u32]) -> Vec<u8> {
    let count = u16::try_from(types.len()).unwrap().to_be_bytes().to_vec();
    let types: Vec<u8> = types.iter().flat_map(|ty| ty.to_be_bytes()).collect();
    message(b'P', &[text(name), text(statement), count, types].concat())
}

/// Values in the format 0, text, or 1, binary; rows in `format`.
pub(crate) fn bind(portal: &str, name: &str, values: &[(u16, Option<&[u8]>)], format: u16) -> Vec<u8> {
    let count = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    let formats: Vec<u8> = values.iter().flat_map(|(format, _)| format.to_be_bytes()).collect();
    let value = |value: &Option<&[u8]>| match value {
        Some(bytes) => framed_value(bytes),
        None => (-1_i32).to_be_bytes().to_vec(),
    };
    let values: Vec<u8> = values.iter().flat_map(|(_, bytes)| value(bytes)).collect();
    let rows = [1_u16.to_be_bytes(), format.to_be_bytes()].concat();
    message(b'B', &[text(portal), text(name), count.clone(), formats, count, values, rows].concat())
}

fn framed_value(bytes: &[u8]) -> Vec<u8> {
    [&i32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

pub(crate) fn describe(what: u8, name: &str) -> Vec<u8> {
    message(b'D', &[vec![what], text(name)].concat())
}

pub(crate) fn execute(portal: &str, rows_max: i32) -> Vec<u8> {
    message(b'E', &[text(portal), rows_max.to_be_bytes().to_vec()].concat())
}

pub(crate) fn sync() -> Vec<u8> {
    message(b'S', &[])
}

impl Client {
    /// A connection to the rows of `database`.
    pub(crate) async fn connect(addr: SocketAddr, database: &str) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        Self::start(stream, &startup(VERSION, &[("user", "ada"), ("database", database)])).await.unwrap()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Says who it is.
    pub(crate) async fn start(mut stream: S, first: &[u8]) -> Result<Self, Failure> {
        stream.write_all(first).await.unwrap();
        let mut client = Self { stream, key: (0, 0), told: Vec::new() };
        loop {
            let (tag, body) = client.message().await.unwrap();
            match tag {
                b'R' => assert_eq!(body, [0, 0, 0, 0]),
                b'S' => {
                    let mut texts = body.split(|byte| *byte == 0).map(|text| String::from_utf8(text.to_vec()).unwrap());
                    client.told.push((texts.next().unwrap(), texts.next().unwrap()));
                }
                b'K' => client.key = (number(&body), number(&body[4..])),
                b'v' => {}
                b'Z' => return Ok(client),
                b'E' => return Err(failure(&body)),
                tag => panic!("{tag}"),
            }
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next message; none when the server has closed the connection.
    pub(crate) async fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        let message = async {
            let tag = self.stream.read_u8().await?;
            let length = usize::try_from(self.stream.read_i32().await?).unwrap() - 4;
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).await?;
            std::io::Result::Ok((tag, body))
        };
        tokio::time::timeout(PATIENCE, message).await.unwrap().ok()
    }

    /// What is answered to `bytes` until the server is ready, or gone.
    pub(crate) async fn ask(&mut self, bytes: &[u8]) -> Answer {
        self.send(bytes).await;
        self.answer().await
    }

    /// The answer to a text of statements.
    pub(crate) async fn query(&mut self, statements: &str) -> Answer {
        self.ask(&query(statements)).await
    }

    /// The answer to one statement with values, all by the extended protocol.
    pub(crate) async fn bound(
        &mut self,
        statement: &str,
        types: &[u32],
        values: &[(u16, Option<&[u8]>)],
        format: u16,
    ) -> Answer {
        let steps =
            [parse("", statement, types), bind("", "", values, format), describe(b'P', ""), execute("", 0), sync()];
        self.ask(&steps.concat()).await
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        let mut answer = Answer::default();
        while let Some((tag, body)) = self.message().await {
            answer.messages.push(char::from(tag));
            match tag {
                b'T' => answer.columns = columns(&body),
                b'D' => answer.rows.push(values(&body)),
                b'C' => answer.tags.push(String::from_utf8(body[..body.len() - 1].to_vec()).unwrap()),
                b'E' => answer.failures.push(failure(&body)),
                b'N' => answer.notices.push(failure(&body)),
                b't' => answer.parameters = body[2..].chunks(4).map(|oid| number(oid).cast_unsigned()).collect(),
                b'Z' => {
                    answer.status = char::from(body[0]);
                    return answer;
                }
                _ => {}
            }
        }
        answer
    }
}

fn number(bytes: &[u8]) -> i32 {
    i32::from_be_bytes(bytes[..4].try_into().unwrap())
}

fn columns(mut body: &[u8]) -> Vec<(String, u32)> {
    let count = u16::from_be_bytes(body[..2].try_into().unwrap());
    body = &body[2..];
    let column = |_| {
        let end = body.iter().position(|byte| *byte == 0).unwrap();
        let name = String::from_utf8(body[..end].to_vec()).unwrap();
        let oid = number(&body[end + 7..]).cast_unsigned();
        body = &body[end + 19..];
        (name, oid)
    };
    (0..count).map(column).collect()
}

fn values(mut body: &[u8]) -> Vec<Value> {
    let count = u16::from_be_bytes(body[..2].try_into().unwrap());
    body = &body[2..];
    let value = |_| {
        let length = usize::try_from(number(body)).ok();
        body = &body[4..];
        let value = length.map(|length| body[..length].to_vec());
        body = &body[length.unwrap_or_default()..];
        value
    };
    (0..count).map(value).collect()
}

fn failure(body: &[u8]) -> Failure {
    let mut failure = Failure::default();
    for field in body.split(|byte| *byte == 0).filter(|field| !field.is_empty()) {
        let text = String::from_utf8(field[1..].to_vec()).unwrap();
        match field[0] {
            b'S' => failure.severity = text,
            b'C' => failure.code = text,
            b'M' => failure.message = text,
            b'P' => failure.position = text.parse().ok(),
            _ => {}
        }
    }
    failure
}
