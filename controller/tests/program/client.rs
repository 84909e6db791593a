//! A client that says what it is told to, over any stream, one connection a request.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::serve::PATIENCE;

/// An answer.
#[derive(Debug)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// What comes before the body.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answered {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Connects, with a deadline for each read and write.
pub fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The bytes of a request.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Sends a request and reads the answer to its end.
pub fn over(mut stream: impl Read + Write, request: &[u8]) -> std::io::Result<Answered> {
    stream.write_all(request)?;
    stream.flush()?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    let cut = || std::io::Error::other("the answer was cut off");
    let end = all.windows(4).position(|it| it == b"\r\n\r\n").ok_or_else(cut)?;
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let body = all[end + 4..].to_vec();
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).ok_or_else(cut)?;
    let told = head.lines().find_map(|it| it.strip_prefix("content-length: ")).and_then(|it| it.parse().ok());
    if told.is_some_and(|told: usize| told != body.len()) {
        return Err(cut());
    }
    Ok(Answered { status, head, body })
}

/// Asks for something.
pub fn get(address: SocketAddr, path: &str) -> std::io::Result<Answered> {
    over(connect(address)?, &request("GET", path, &[], b""))
}

/// Sends JSON.
pub fn json(address: SocketAddr, method: &str, path: &str, body: &Value) -> std::io::Result<Answered> {
    let body = serde_json::to_vec(body)?;
    over(connect(address)?, &request(method, path, &[("content-type", "application/json")], &body))
}

/// Sends a piece of an artifact.
pub fn piece(
    address: SocketAddr,
    name: &vmward_model::Digest,
    offset: usize,
    size: usize,
    bytes: &[u8],
) -> std::io::Result<Answered> {
    let path = format!("/api/v1/uploads/{name}?offset={offset}&size={size}");
    over(connect(address)?, &request("PUT", &path, &[], bytes))
}
