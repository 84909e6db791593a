//! Stopped in an orderly way, and started wrongly.

use std::io::{Read as _, Write as _};

use crate::client::{connect, get, request};
use crate::serve::{Controller, run};

#[test]
fn it_stops_in_order_even_while_readers_listen() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Controller::start(dir.path());
    let mut live = connect(controller.address).unwrap();
    live.write_all(&request("GET", "/api/v1/live", &[], b"")).unwrap();
    let mut head = [0; 12];
    live.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    // One that has connected and says nothing.
    let idle = connect(controller.address).unwrap();
    assert!(controller.stop().success());
    let mut rest = Vec::new();
    live.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "the stream was ended, not cut");
    drop(idle);
}

#[test]
fn a_second_one_on_the_same_folder_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Controller::start(dir.path());
    let second = run(dir.path(), &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another controller works in"), "{said}");
    assert_eq!(get(controller.address, "/healthz").unwrap().status, 200);
}

#[test]
fn a_configuration_that_cannot_be_read_is_told_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("controller.toml");
    std::fs::write(&file, "listen = \"127.0.0.1:0\"\n[limits]\nchunk-bytes = 1\n").unwrap();
    let done = run(dir.path(), &["--config", file.to_str().unwrap(), "serve"]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1));
    assert!(said.contains("line 3, column 1") && said.contains("controller.toml"), "{said}");
}
