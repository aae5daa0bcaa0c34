//! A pooler in front of the database: settings of a session hold, or it is refused.

use std::time::Duration;
use support::{
    doctor::{doctor, failures, names},
    pooler::{Mode, Pooler},
    rig::{Handler, Rig, inline},
};

/// A pooler in session mode that leaves start-up options out: tables lie in their schema all the same,
/// limits of time are in force, and a chunk completes.
pub async fn settings_hold_behind_a_session_pooler() {
    let rig = Rig::new().await;
    let pooler = Pooler::start(&rig.database_url, Mode::Session).await.unwrap();
    let handler = rig.handler_with(&[("DATABASE_URL", pooler.url())]).await;
    let (status, answer) = handler.deliver("one", &inline(1, 0, &rig.pictures(2))).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["Logs"][0].as_str().unwrap().contains("completed"), "{answer}");
    let elsewhere = "select count(*) from pg_class where relname in ('chunk', 'job', 'slot')
        and relnamespace <> 'chunk_handler'::regnamespace";
    assert_eq!(rig.value::<i64>(elsewhere).await, 0);
    let mut lock = rig.pool.begin().await.unwrap();
    let statement = "lock table chunk_handler.chunk in access exclusive mode";
    sqlx::query(statement).execute(&mut *lock).await.unwrap();
    let message = inline(2, 0, &rig.pictures(1));
    let (answer, ()) = tokio::join!(handler.deliver("two", &message), async {
        // Without a limit it would wait, and say nothing.
        handler.line("no answer yet, asking again").await;
        lock.rollback().await.unwrap();
    });
    assert!(answer.1["Logs"][0].as_str().unwrap().contains("completed"), "{}", answer.1);
}

/// Case 216: one in transaction or statement mode would lose settings and statements: the process takes
/// no chunk and says why, and every command names it.
pub async fn a_transaction_pooler_is_refused_by_its_name() {
    const NAME: &str = "a pooler in transaction or statement mode is in front of the database";
    for mode in [Mode::Transaction, Mode::Statement] {
        let rig = Rig::new().await;
        let pooler = Pooler::start(&rig.database_url, mode).await.unwrap();
        let behind = [("DATABASE_URL", pooler.url())];
        let handler = Handler::spawn(rig.environment(), &behind);
        handler.answers().await;
        handler.line(NAME).await;
        assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
        // Ten rounds, also with a schema: nothing of it passes by itself.
        tokio::time::sleep(Duration::from_secs(10)).await;
        let lines = handler.lines();
        let said = |word: &str| lines.iter().any(|line| line.contains(word));
        assert!(!said("\"ready\"") && !said("works again"), "{mode:?}: {lines:#?}");
        assert!(said("or to a pooler in session mode"), "{mode:?}: {lines:#?}");
        names(&doctor(&rig, &behind, &["--json"]), "Postgres", &[NAME, "pool_mode = session"]);
        for command in [&["migrate"][..], &["status"], &["status", "--rejected"]] {
            let ended = rig.chunkctl_with(&behind, command);
            assert_eq!(ended.code, Some(1), "{mode:?}: {ended:?}");
            assert!(ended.stderr.contains(NAME), "{mode:?}: {ended:?}");
            assert!(ended.stderr.contains("pool_mode = session"), "{mode:?}: {ended:?}");
        }
    }
}

/// Case 216: one that refuses what it does not know is enough as it comes; one more parameter of ours is
/// refused by its name, and no firewall is suspected. `migrate` and `doctor` agree.
pub async fn a_pooler_that_refuses_parameters_is_named() {
    let rig = Rig::new().await;
    let pooler = Pooler::start_strict(&rig.database_url).await.unwrap();
    let behind = [("DATABASE_URL", pooler.url())];
    let migrated = rig.chunkctl_with(&behind, &["migrate"]);
    assert_eq!(migrated.code, Some(0), "{migrated:?}");
    let examined = doctor(&rig, &behind, &["--json"]);
    assert_eq!(failures(&examined), Vec::new(), "{}", examined.stdout);
    let elsewhere = "select count(*) from pg_tables where schemaname = 'public'";
    assert_eq!(rig.value::<i64>(elsewhere).await, 0);
    let more = format!("{}?options=-c%20work_mem%3D8MB", pooler.url());
    let more = [("DATABASE_URL", more.as_str())];
    let examined = doctor(&rig, &more, &["--json"]);
    names(&examined, "Postgres", &["a pooler in front of the database refuses", "options"]);
    assert!(!examined.stdout.contains("firewall let"), "{}", examined.stdout);
    let migrated = rig.chunkctl_with(&more, &["migrate"]);
    assert!(migrated.stderr.contains("a pooler in front"), "{migrated:?}");
}
