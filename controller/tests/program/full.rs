//! No room: the program may make no file larger than so much, which a disk without room says in the
//! same way. Nothing half is left, what fits is still taken, and with room again everything is.

use std::process::Command;

use serde_json::json;

use crate::client::{get, json, piece};
use crate::sample::{digest, host, note};
use crate::serve::{Controller, program};

#[test]
fn without_room_the_answer_says_so_and_the_program_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    // 2 MiB in blocks of 512 bytes, as POSIX counts them. The signal would end the program.
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "trap '' XFSZ; ulimit -S -f 4096; exec \"$0\" --data \"$1\" serve --listen 127.0.0.1:0",
    ]);
    shell.arg(program()).arg(dir.path());
    let controller = Controller::spawn(shell);
    let address = controller.address;
    let incoming = || std::fs::read_dir(dir.path().join("incoming")).unwrap().count();
    let large = vec![5u8; 5 << 20];
    for _ in 0..3 {
        let answer = piece(address, &digest(&large), 0, large.len(), &large).unwrap();
        assert_eq!((answer.status, answer.json()["status"].as_u64()), (507, Some(507)), "{answer:?}");
        assert!(answer.head.to_lowercase().contains("retry-after"), "{answer:?}");
        assert_eq!(incoming(), 0);
    }
    // A piece that no longer fits takes nothing of what is there already.
    let name = digest(&large);
    for at in [0usize, 1 << 20] {
        assert_eq!(piece(address, &name, at, large.len(), &large[at..at + (1 << 20)]).unwrap().status, 200);
    }
    let at = 2 << 20;
    assert_eq!(piece(address, &name, at, large.len(), &large[at..at + 4096]).unwrap().status, 507);
    let here = get(address, &format!("/api/v1/uploads/{name}")).unwrap().json();
    assert_eq!(here, json!({ "stored": false, "offset": at }));
    // The database meets the bound as well, at some batch.
    let batch = |n: u64| {
        let events: Vec<_> = (n * 100..n * 100 + 100)
            .map(|seq| {
                let mut it = note(seq);
                it.kind = vmward_model::EventKind::Note { text: "x".repeat(2000) };
                it
            })
            .collect();
        json!({ "host": host(1), "host_name": "alpha", "events": events })
    };
    let mut stored = 0;
    let refused = (0..200).find(|n| {
        let answer = json(address, "POST", "/api/v1/events", &batch(*n)).unwrap();
        stored += u64::from(answer.status == 200);
        assert!(matches!(answer.status, 200 | 507), "{answer:?}");
        answer.status == 507
    });
    let refused = refused.expect("the database never met the bound");
    for _ in 0..3 {
        let answer = json(address, "POST", "/api/v1/events", &batch(refused)).unwrap();
        assert_eq!(answer.status, 507, "{answer:?}");
    }
    assert_eq!(get(address, "/healthz").unwrap().status, 200);
    assert_eq!(get(address, "/api/v1/events?limit=1").unwrap().status, 200);
    // With room again, what was refused is taken, and what was taken is there.
    let pid = controller.pid.to_string();
    let room = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status();
    assert!(room.expect("prlimit of util-linux has to be there").success());
    let answer = json(address, "POST", "/api/v1/events", &batch(refused)).unwrap();
    assert_eq!(answer.json(), json!({ "stored": 100, "duplicates": 0 }));
    let hosts = get(address, "/api/v1/hosts").unwrap().json();
    assert_eq!(hosts["hosts"][0]["stored_entries"], (stored + 1) * 100);
    assert_eq!(piece(address, &digest(&large), 0, large.len(), &large).unwrap().status, 200);
    assert!(controller.stop().success());
}
