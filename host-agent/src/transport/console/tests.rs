//! The console actor against fake guests: a shell, a hung shell, a flood, a person, a pty.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::*;

const SOON: Duration = Duration::from_secs(2);

fn settings(path: &Path) -> Settings {
    Settings {
        address: Address::Unix(path.to_owned()),
        mux: true,
        ring: None,
        qemu_log: None,
        prompts: vec![DeclaredPrompt::new("/ # ").unwrap()],
    }
}

fn uptime(within: Duration) -> Ask {
    Ask { command: "uptime".into(), prompt: DeclaredPrompt::new("/ # ").unwrap(), wake: Wake::Never, within }
}

/// A guest that runs `play` on the first connection and leaves it open.
fn guest<F>(play: impl FnOnce(UnixStream) -> F + Send + 'static) -> (tempfile::TempDir, PathBuf)
where
    F: Future<Output = ()> + Send,
{
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cons");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        play(stream).await;
        std::future::pending::<()>().await;
        drop(listener);
    });
    (dir, path)
}

/// Reads one typed line (up to CR) and echoes it as a terminal does.
async fn typed_line(stream: &mut UnixStream) -> String {
    let mut line = Vec::new();
    loop {
        let byte = stream.read_u8().await.unwrap();
        if byte == b'\r' {
            stream.write_all(b"\r\n").await.unwrap();
            return String::from_utf8(line).unwrap();
        }
        line.push(byte);
        stream.write_all(&[byte]).await.unwrap();
    }
}

/// A shell: a real `sh` runs what was typed.
async fn run_shell(stream: &mut UnixStream, line: &str, before: &[u8]) {
    let out = std::process::Command::new("sh").arg("-c").arg(line).output().unwrap();
    stream.write_all(before).await.unwrap();
    let text = String::from_utf8(out.stdout).unwrap().replace('\n', "\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.write_all(b"/ # ").await.unwrap();
}

async fn at_prompt(console: &Console) {
    assert!(console.beyond(0, SOON).await);
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn a_shell_behind_boot_text_and_kernel_lines_answers() {
    let (_dir, path) = guest(|mut stream| async move {
        stream.write_all(b"Run /init\r\n/ # [    9.000001] late\r\n").await.unwrap();
        for _ in 0..2 {
            let line = typed_line(&mut stream).await;
            run_shell(&mut stream, &line, b"[   10.000001] noise\r\n").await;
        }
    });
    let console = Console::start(settings(&path)).unwrap();
    at_prompt(&console).await;
    let mut ask = uptime(SOON);
    ask.command = "echo hello; exit 3".into();
    // `exit` ends the shell before the closing marker: that is no answer.
    let short = Ask { within: Duration::from_millis(300), ..ask.clone() };
    assert!(matches!(console.ask(&short).await, Err(AskError::NoAnswer { .. })));
    // The question is open: nothing else is typed.
    assert!(matches!(console.ask(&short).await, Err(AskError::StillOpen { .. })));
    console.restarted().await;
    assert!(matches!(console.ask(&uptime(SOON)).await, Err(AskError::NotAllowed(Refusal::NoText))));
}

#[tokio::test]
async fn the_answer_comes_with_its_status_and_labels_of_others_do_not_stop_the_next() {
    let (_dir, path) = guest(|mut stream| async move {
        stream.write_all(b"/ # ").await.unwrap();
        for n in 0..3 {
            let line = typed_line(&mut stream).await;
            run_shell(&mut stream, &line, b"[   10.000001] noise\r\n").await;
            let label = format!("label {n}\r\n");
            stream.write_all(label.as_bytes()).await.unwrap();
        }
    });
    let console = Console::start(settings(&path)).unwrap();
    at_prompt(&console).await;
    for _ in 0..3 {
        let ask = Ask { command: "echo hello; false".into(), ..uptime(SOON) };
        let answer = console.ask(&ask).await.unwrap();
        assert_eq!((answer.text.as_str(), answer.status), ("hello\n", Some(1)));
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

#[tokio::test]
async fn a_hung_shell_gets_one_command_and_its_late_answer_opens_the_way_again() {
    let (_dir, path) = guest(|mut stream| async move {
        stream.write_all(b"/ # ").await.unwrap();
        let line = typed_line(&mut stream).await;
        tokio::time::sleep(Duration::from_millis(900)).await;
        run_shell(&mut stream, &line, b"").await;
        let line = typed_line(&mut stream).await;
        run_shell(&mut stream, &line, b"").await;
    });
    let console = Console::start(settings(&path)).unwrap();
    at_prompt(&console).await;
    let ask = |ms| Ask { command: "echo hello".into(), ..uptime(Duration::from_millis(ms)) };
    assert!(matches!(console.ask(&ask(300)).await, Err(AskError::NoAnswer { .. })));
    assert!(matches!(console.ask(&ask(200)).await, Err(AskError::StillOpen { .. })));
    assert_eq!(console.ask(&ask(3000)).await.unwrap().text, "hello\n");
}

#[tokio::test]
async fn nothing_is_typed_at_a_login_prompt_and_a_cr_is_not_sent_either() {
    let (seen, mut typed) = tokio::sync::mpsc::unbounded_channel();
    let (_dir, path) = guest(|mut stream| async move {
        stream.write_all(b"Debian\r\nvm login: ").await.unwrap();
        while let Ok(byte) = stream.read_u8().await {
            seen.send(byte).unwrap();
        }
    });
    let console = Console::start(settings(&path)).unwrap();
    at_prompt(&console).await;
    let ask = Ask { wake: Wake::Cr, ..uptime(SOON) };
    assert!(matches!(
        console.ask(&ask).await,
        Err(AskError::NotAllowed(Refusal::Forbidden(prompt::Forbidden::Login)))
    ));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(typed.try_recv().is_err());
}

#[tokio::test]
async fn a_password_prompt_behind_a_progress_bar_is_not_answered() {
    let (seen, mut typed) = tokio::sync::mpsc::unbounded_channel();
    let (_dir, path) = guest(|mut stream| async move {
        stream.write_all(b"/ # sudo fetch\r\n").await.unwrap();
        for n in 0..100 {
            stream.write_all(format!("\rfetching {n:>3} %").as_bytes()).await.unwrap();
        }
        stream.write_all(b"\r[sudo] password for admin: ").await.unwrap();
        while let Ok(byte) = stream.read_u8().await {
            seen.send(byte).unwrap();
        }
    });
    let console = Console::start(settings(&path)).unwrap();
    at_prompt(&console).await;
    let refused = console.ask(&uptime(SOON)).await;
    assert!(
        matches!(refused, Err(AskError::NotAllowed(Refusal::Forbidden(prompt::Forbidden::Password)))),
        "{refused:?}"
    );
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(typed.try_recv().is_err());
}

#[tokio::test]
async fn a_person_pauses_questions_and_ctrl_a_is_doubled_on_a_mux() {
    let (seen, mut typed) = tokio::sync::mpsc::unbounded_channel();
    let (_dir, path) = guest(|mut stream| async move {
        stream.write_all(b"/ # ").await.unwrap();
        while let Ok(byte) = stream.read_u8().await {
            seen.send(byte).unwrap();
        }
    });
    let console = Console::start(settings(&path)).unwrap();
    at_prompt(&console).await;
    let mut person = console.attach(false).await.unwrap();
    person.position = 0;
    assert_eq!(person.next().await.bytes, b"/ # ");
    person.write(b"\x01x").await.unwrap();
    for expected in [1, 1, b'x'] {
        assert_eq!(typed.recv().await, Some(expected));
    }
    assert!(matches!(console.ask(&uptime(SOON)).await, Err(AskError::NotAllowed(Refusal::Attached))));
    drop(person);
    assert!(matches!(console.ask(&uptime(SOON)).await, Err(AskError::NotAllowed(Refusal::ForeignTyping))));
    let raw = console.attach(true).await.unwrap();
    raw.write(b"\x01").await.unwrap();
    assert_eq!(typed.recv().await, Some(1));
    raw.write(b"y").await.unwrap();
    assert_eq!(typed.recv().await, Some(b'y'));
}

#[tokio::test]
async fn a_flood_of_100_mb_keeps_memory_bounded_and_others_on_time() {
    let (_dir, path) = guest(|mut stream| async move {
        let block = vec![b'x'; 1 << 20];
        for _ in 0..100 {
            if stream.write_all(&block).await.is_err() {
                return;
            }
        }
        stream.write_all(b"END").await.unwrap();
    });
    let ring = tempfile::tempdir().unwrap();
    let mut with_ring = settings(&path);
    with_ring.ring =
        Some(RingSettings { dir: ring.path().to_owned(), cap: 1 << 20, incarnation: "1-1".into() });
    let console = Console::start(with_ring).unwrap();
    // The same thread (a current-thread runtime) must still serve a timer.
    let mut worst = Duration::ZERO;
    let began = Instant::now();
    while console.position() < (100 << 20) + 3 {
        assert!(began.elapsed() < Duration::from_secs(120));
        let tick = Instant::now();
        tokio::time::sleep(Duration::from_millis(5)).await;
        worst = worst.max(tick.elapsed());
    }
    assert!(worst < Duration::from_secs(1), "{worst:?}");
    assert!(console.newest(10).ends_with(b"END"));
    assert_eq!(console.read_from(0, usize::MAX).bytes.len(), TAIL);
    let on_disk: u64 =
        std::fs::read_dir(ring.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    assert!(on_disk < (1 << 20) + (64 << 10), "{on_disk}");
}

#[tokio::test]
async fn a_guest_that_does_not_read_is_not_waited_for() {
    let (_dir, path) = guest(|mut stream| async move {
        stream.write_all(b"/ # ").await.unwrap();
        std::future::pending::<()>().await;
    });
    let console = Console::start(settings(&path)).unwrap();
    at_prompt(&console).await;
    // Fill the pipe, as a person who pastes would.
    let person = console.attach(false).await.unwrap();
    for _ in 0..40 {
        person.write(&[b'y'; 16 << 10]).await.unwrap();
    }
    let began = Instant::now();
    let permit = L3Permit::allowed("test");
    // More than a socket's buffers hold, whatever room the paste has left.
    let sent = console.control(&permit, vec![0; 2 << 20]).await;
    assert!(sent.is_err(), "{sent:?}");
    assert!(began.elapsed() < SOON);
}

#[tokio::test]
async fn a_console_that_serves_somebody_else_is_busy() {
    let (_dir, path) = guest(|_stream| std::future::pending());
    let _first = UnixStream::connect(&path).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let console = Console::start(settings(&path)).unwrap();
    let mut watcher = console.state.clone();
    let busy = watcher.wait_for(|s| matches!(s, LinkState::Busy(_)));
    let seen = timeout(Duration::from_secs(3), busy).await;
    // Where the kernel has no unix_diag, nobody can tell.
    let diag = crate::transport::holders::occupancy(&path, None).unwrap();
    if diag.holders.iter().any(|h| h.pid.is_some()) {
        assert!(matches!(seen, Ok(Ok(_))), "{:?}", console.state());
    }
}

#[tokio::test]
async fn the_prompt_of_an_earlier_run_of_the_same_qemu_is_enough() {
    let ring = tempfile::tempdir().unwrap();
    let ring_settings = RingSettings { dir: ring.path().to_owned(), cap: 1 << 20, incarnation: "7-9".into() };
    ring::RingWriter::open(&ring_settings).unwrap().push(b"boot\r\n/ # ");
    for _ in 0..100 {
        if !ring::read_back(ring.path(), None, 100).unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (_dir, path) = guest(|mut stream| async move {
        let line = typed_line(&mut stream).await;
        run_shell(&mut stream, &line, b"").await;
    });
    let mut with_ring = settings(&path);
    with_ring.ring = Some(ring_settings);
    let console = Console::start(with_ring).unwrap();
    assert!(console.connected(SOON).await);
    let ask = Ask { command: "echo hello".into(), ..uptime(SOON) };
    assert_eq!(console.ask(&ask).await.unwrap().text, "hello\n");
}

#[tokio::test]
async fn a_pty_is_a_console_too() {
    use std::io::{Read, Write};
    let pty = nix::pty::openpty(None, None).unwrap();
    let slave = nix::unistd::ttyname(&pty.slave).unwrap();
    let mut master = std::fs::File::from(pty.master);
    let mut place = settings(Path::new("/"));
    place.address = Address::Tty(slave);
    let console = Console::start(place).unwrap();
    assert!(console.connected(SOON).await, "{:?}", console.state());
    master.write_all(b"/ # ").unwrap();
    at_prompt(&console).await;
    let shell = std::thread::spawn(move || {
        let mut line = Vec::new();
        while !line.ends_with(b"\r") {
            let mut byte = [0];
            master.read_exact(&mut byte).unwrap();
            line.extend_from_slice(&byte);
        }
        let line = String::from_utf8(line).unwrap();
        let out = std::process::Command::new("sh").arg("-c").arg(line.trim_end()).output();
        master.write_all(&out.unwrap().stdout).unwrap();
        master
    });
    let ask = Ask { command: "echo hello".into(), ..uptime(SOON) };
    assert_eq!(console.ask(&ask).await.unwrap().text, "hello\n");
    drop(shell.join().unwrap());
}
