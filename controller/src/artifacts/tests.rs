//! Artifacts as a whole: however they are cut, repeated and interrupted, what is stored is what was meant.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream;
use proptest::prelude::*;

use super::{ArtifactError, Artifacts, Bounds, Swept, UploadError, place};
use crate::sample::digest;
use crate::store::Store;

const BOUNDS: Bounds = Bounds { artifact: 1 << 20, incoming: 4 << 20, age: Duration::from_secs(3600) };

async fn open(dir: &tempfile::TempDir, bounds: Bounds) -> (Artifacts, Swept) {
    let store = Store::open(dir.path()).await.unwrap();
    Artifacts::open(dir.path(), store, bounds).await.unwrap()
}

fn pieces(bytes: &[u8], size: usize) -> impl futures_util::Stream<Item = Result<Bytes, UploadError>> + use<> {
    stream::iter(bytes.chunks(size).map(|it| Ok(Bytes::copy_from_slice(it))).collect::<Vec<_>>())
}

fn incoming(dir: &tempfile::TempDir) -> usize {
    std::fs::read_dir(dir.path().join("incoming")).unwrap().count()
}

/// One thing that a sender does.
#[derive(Clone, Debug)]
enum Act {
    /// Sends the next so many bytes.
    Next(usize),
    /// Sends a piece from anywhere: repeated, overlapping or ahead.
    Any(usize, usize),
    /// The controller is started again.
    Restart,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (0usize..40_000).prop_map(Act::Next),
        3 => (0usize..100_000, 0usize..40_000).prop_map(|(a, b)| Act::Any(a, b)),
        1 => Just(Act::Restart),
    ];
    proptest::collection::vec(act, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_pieces_in_any_order_give_the_same_file(
        content in proptest::collection::vec(any::<u8>(), 0..100_000),
        acts in acts(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let (mut all, _) = open(&dir, BOUNDS).await;
            let (name, size) = (digest(&content), content.len() as u64);
            let mut here = 0usize;
            let mut stored = false;
            for act in acts {
                let (from, to) = match act {
                    Act::Next(n) => (here, here.saturating_add(n).min(content.len())),
                    Act::Any(from, n) => {
                        let from = from.min(content.len());
                        (from, from.saturating_add(n).min(content.len()))
                    }
                    Act::Restart => {
                        all = open(&dir, BOUNDS).await.0;
                        continue;
                    }
                };
                let piece = Bytes::copy_from_slice(&content[from..to]);
                match all.upload_piece(&name, from as u64, size, piece).await {
                    Ok(state) => {
                        here = usize::try_from(state.offset).unwrap();
                        stored |= state.stored;
                        prop_assert_eq!(state.stored, here == content.len() && stored);
                    }
                    Err(UploadError::Offset { offset }) => prop_assert_eq!(offset, here as u64),
                    Err(other) => prop_assert!(false, "{}", other),
                }
            }
            if !stored {
                let rest = Bytes::copy_from_slice(&content[here..]);
                let state = all.upload_piece(&name, here as u64, size, rest).await.unwrap();
                prop_assert!(state.stored);
            }
            let kept = all.read(&name, BOUNDS.artifact).await.unwrap();
            prop_assert_eq!(&kept[..], &content[..]);
            prop_assert_eq!(incoming(&dir), 0);
            prop_assert_eq!(all.incoming_bytes(), 0);
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn two_agents_that_send_the_same_at_once_do_not_harm_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (all, _) = open(&dir, BOUNDS).await;
    let content: Vec<u8> = (0..300_000u32).map(|it| it.to_le_bytes()[0] ^ it.to_le_bytes()[1]).collect();
    let (name, size) = (digest(&content), content.len() as u64);
    let send = |step: usize, whole: bool| {
        let (all, content, name) = (all.clone(), content.clone(), name.clone());
        tokio::spawn(async move {
            if whole {
                return all.upload_whole(&name, size, pieces(&content, step)).await.unwrap().stored;
            }
            let mut at = 0usize;
            // Each loses a race now and then, and goes on where the other one got to.
            for _ in 0..10_000 {
                let end = at.saturating_add(step).min(content.len());
                let piece = Bytes::copy_from_slice(&content[at..end]);
                match all.upload_piece(&name, at as u64, size, piece).await {
                    Ok(state) if state.stored => return true,
                    Ok(state) => at = usize::try_from(state.offset).unwrap(),
                    Err(UploadError::Offset { offset }) => at = usize::try_from(offset).unwrap(),
                    Err(other) => panic!("{other}"),
                }
            }
            false
        })
    };
    let senders = [send(7_001, false), send(10_000, false), send(4_096, true), send(50_000, false)];
    for it in senders {
        assert!(it.await.unwrap());
    }
    assert_eq!(all.read(&name, BOUNDS.artifact).await.unwrap(), content);
    assert_eq!((incoming(&dir), all.incoming_bytes()), (0, 0));
    assert!(all.inner.locks.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_not_what_its_name_says_is_refused_and_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (all, _) = open(&dir, BOUNDS).await;
    let name = digest(b"what was meant");
    all.upload_piece(&name, 0, 10, Bytes::from_static(b"01234")).await.unwrap();
    let done = all.upload_piece(&name, 5, 10, Bytes::from_static(b"56789")).await;
    assert!(matches!(done, Err(UploadError::Artifact(ArtifactError::Mismatch { .. }))), "{done:?}");
    let done = all.upload_whole(&name, 10, pieces(b"0123456789", 3)).await;
    assert!(matches!(done, Err(UploadError::Artifact(ArtifactError::Mismatch { .. }))), "{done:?}");
    assert_eq!((incoming(&dir), all.incoming_bytes()), (0, 0));
    let state = all.upload_state(&name).await.unwrap();
    assert!(!state.stored && state.offset == 0);
    assert!(matches!(all.read(&name, 100).await, Err(ArtifactError::NotFound(_))));
}

#[tokio::test]
async fn a_whole_that_is_cut_off_or_too_long_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (all, _) = open(&dir, BOUNDS).await;
    let name = digest(b"0123456789");
    assert!(matches!(all.upload_whole(&name, 10, pieces(b"01234", 2)).await, Err(UploadError::Cut(_))));
    let broken = stream::iter([Ok(Bytes::from_static(b"01")), Err(UploadError::Cut("reset".to_owned()))]);
    assert!(matches!(all.upload_whole(&name, 10, broken).await, Err(UploadError::Cut(_))));
    let long = all.upload_whole(&name, 5, pieces(b"0123456789", 2)).await;
    assert!(matches!(long, Err(UploadError::Beyond { size: 5 })));
    assert_eq!((incoming(&dir), all.incoming_bytes()), (0, 0));
}

#[tokio::test]
async fn unfinished_uploads_take_no_more_than_they_may() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = Bounds { artifact: 100_000, incoming: 100_000, age: Duration::from_secs(60) };
    let (all, _) = open(&dir, bounds).await;
    let big = Bytes::from(vec![1u8; 60_000]);
    let (first, second) = (digest(b"1"), digest(b"2"));
    all.upload_piece(&first, 0, 90_000, big.clone()).await.unwrap();
    let refused = all.upload_piece(&second, 0, 90_000, big.clone()).await;
    assert!(matches!(refused, Err(UploadError::Crowded { .. })), "{refused:?}");
    let refused = all.upload_piece(&first, 0, 100_001, Bytes::new()).await;
    assert!(matches!(refused, Err(UploadError::TooLarge { .. })), "{refused:?}");
    // After a restart as well.
    let (all, swept) = open(&dir, bounds).await;
    assert_eq!(swept.partial, 1);
    assert!(matches!(
        all.upload_piece(&second, 0, 90_000, big.clone()).await,
        Err(UploadError::Crowded { .. })
    ));
    let later = SystemTime::now() + Duration::from_secs(61);
    assert_eq!(all.sweep_partials(SystemTime::now()).await.unwrap(), 0);
    assert_eq!(all.sweep_partials(later).await.unwrap(), 1, "nobody went on with it");
    assert!(all.upload_piece(&second, 0, 90_000, big).await.is_ok());
}

#[tokio::test]
async fn files_and_database_agree_after_a_start_whatever_happened_between() {
    let dir = tempfile::tempdir().unwrap();
    let (all, _) = open(&dir, BOUNDS).await;
    for content in [b"kept", b"gone", b"torn"] {
        let size = content.len() as u64;
        all.upload_whole(&digest(content), size, pieces(content, 9)).await.unwrap();
    }
    let file = |content: &[u8]| dir.path().join(place(&digest(content)));
    std::fs::remove_file(file(b"gone")).unwrap();
    std::fs::write(file(b"torn"), b"to").unwrap();
    // As after a crash between the renaming and the row.
    std::fs::create_dir_all(file(b"whole").parent().unwrap()).unwrap();
    std::fs::write(file(b"whole"), b"whole").unwrap();
    std::fs::create_dir_all(file(b"false").parent().unwrap()).unwrap();
    std::fs::write(file(b"false"), b"fals.").unwrap();
    std::fs::write(dir.path().join("incoming/whole-left-over"), b"x").unwrap();
    std::fs::create_dir_all(dir.path().join("work/left/over")).unwrap();
    let (all, swept) = open(&dir, BOUNDS).await;
    assert_eq!(swept, Swept { adopted: 1, removed: 2, lost: 2, partial: 0 });
    assert_eq!(all.read(&digest(b"whole"), 9).await.unwrap(), b"whole".as_slice());
    assert_eq!(all.read(&digest(b"kept"), 9).await.unwrap(), b"kept".as_slice());
    for content in [b"gone", b"torn"] {
        let state = all.upload_state(&digest(content)).await.unwrap();
        assert!(!state.stored && state.offset == 0, "it can be sent again");
    }
    assert_eq!(incoming(&dir), 0);
    assert_eq!(std::fs::read_dir(dir.path().join("work")).unwrap().count(), 0);
    assert_eq!(open(&dir, BOUNDS).await.1, Swept::default(), "the second start finds nothing to do");
}

#[tokio::test]
async fn an_import_keeps_a_file_of_its_workplace_if_it_is_what_its_name_says() {
    let dir = tempfile::tempdir().unwrap();
    let (all, _) = open(&dir, BOUNDS).await;
    let work = all.workplace().await.unwrap();
    std::fs::write(work.join("a"), b"content").unwrap();
    assert!(all.keep(&digest(b"other"), work.join("a")).await.is_err());
    assert_eq!(all.keep(&digest(b"content"), work.join("a")).await.unwrap(), 7);
    assert!(!work.join("a").exists());
    std::os::unix::fs::symlink("/etc/hostname", work.join("link")).unwrap();
    let linked = std::fs::read("/etc/hostname").unwrap_or_default();
    assert!(all.keep(&digest(&linked), work.join("link")).await.is_err(), "a link is no file");
    assert!(all.keep(&digest(b"x"), "/etc/hostname".into()).await.is_err());
}
