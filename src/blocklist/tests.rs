use super::*;
use crate::storage::fake;
use parking_lot::Mutex;

/// A blob as storage has it; none: nobody may read it.
type Blob = Option<(&'static str, String)>;

/// Storage with two lists, and how many of them were downloaded. It ends with the test program.
#[derive(Default)]
struct Lists {
    hosts: Mutex<Blob>,
    hashes: Mutex<Blob>,
    downloads: Mutex<u32>,
}

impl Lists {
    fn answer(&self, head: &str) -> String {
        let blob = if head.contains("hosts") { &self.hosts } else { &self.hashes };
        let Some((etag, text)) = blob.lock().clone() else {
            return "HTTP/1.1 403 No\r\nx-ms-error-code: AuthorizationFailure\r\n\
                    Content-Length: 0\r\nConnection: close\r\n\r\n"
                .to_owned();
        };
        let (len, last) = (text.len(), text.len().saturating_sub(1));
        let known = format!("ETag: \"{etag}\"\r\nContent-Length: {len}\r\nConnection: close\r\n");
        if head.starts_with("HEAD") {
            return format!("HTTP/1.1 200 OK\r\n{known}\r\n");
        }
        *self.downloads.lock() += 1;
        let range = format!("Content-Range: bytes 0-{last}/{len}\r\n");
        format!("HTTP/1.1 206 Partial Content\r\n{range}{known}\r\n{text}")
    }

    fn serve(self: &Arc<Self>) -> (Blocklists, Storage) {
        let lists = Arc::clone(self);
        let (settings, storage) = fake::serve(move |head| Some(lists.answer(head)));
        (Blocklists::new(&settings), storage)
    }
}

/// Case 329 I13: a list that changed while the other could not be read counts when both can be, although it
/// is not read again then.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_beside_a_list_that_cannot_be_read_is_not_lost() {
    let lists = Arc::new(Lists::default());
    let (blocklists, storage) = lists.serve();
    let blocks = |url: &str| {
        let current = blocklists.current();
        current.map(|list| list.has_host(&Url::parse(url).unwrap()))
    };
    let sums = Some(("s1", "# none\n".to_owned()));
    *lists.hosts.lock() = Some(("h1", "a.example\n".to_owned()));
    lists.hashes.lock().clone_from(&sums);
    assert_eq!(blocklists.look(&storage).await.unwrap(), "1 hosts and 0 hashes");
    let first = blocklists.current().unwrap();
    blocklists.look(&storage).await.unwrap();
    assert!(Arc::ptr_eq(&first, &blocklists.current().unwrap()), "nothing has changed");
    *lists.hosts.lock() = Some(("h2", "a.example\nb.example\n".to_owned()));
    *lists.hashes.lock() = None;
    let why = blocklists.look(&storage).await.unwrap_err();
    assert!(why.starts_with("sums.txt: "), "{why}");
    assert_eq!(blocks("http://b.example/"), Some(false), "the last good ones");
    lists.hashes.lock().clone_from(&sums);
    assert_eq!(blocklists.look(&storage).await.unwrap(), "2 hosts and 0 hashes");
    assert_eq!(blocks("http://b.example/"), Some(true));
    assert_eq!(*lists.downloads.lock(), 3, "each version once");
}

/// Case 328: nothing is downloaded of a list that is too long, and one with a bad line once.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_none_is_not_read_again_and_again() {
    let lists = Arc::new(Lists::default());
    let (blocklists, storage) = lists.serve();
    let long = "#\n".repeat(Hosts::LIMIT_BYTES / 2 + 1);
    *lists.hosts.lock() = Some(("h1", long));
    for _ in 0..3 {
        let why = blocklists.look(&storage).await.unwrap_err();
        assert_eq!(why, "hosts.txt has more than 32 MB");
    }
    assert_eq!(*lists.downloads.lock(), 0);
    *lists.hosts.lock() = Some(("h2", "*\n".to_owned()));
    for _ in 0..3 {
        let why = blocklists.look(&storage).await.unwrap_err();
        assert!(why.starts_with("hosts.txt, line 1: "), "{why}");
    }
    assert_eq!(*lists.downloads.lock(), 1);
    assert!(blocklists.current().is_none(), "nothing is fetched with half of them");
}
