//! A database that takes no writes, as a managed server does when its disk is full.

use support::{
    doctor::{doctor, names},
    rig::{Rig, inline},
};

/// New sessions of this database are read-only, whoever they are.
async fn set_read_only(rig: &Rig, is_read_only: bool) {
    let name = rig.database_url.rsplit('/').next().unwrap();
    let value = if is_read_only { "on" } else { "off" };
    let statement = format!("alter database {name} set default_transaction_read_only = {value}");
    let on = sqlx::AssertSqlSafe(format!("set default_transaction_read_only = off; {statement}"));
    sqlx::raw_sql(on).execute(&rig.pool).await.unwrap();
}

/// Case 215: `submit`, `migrate` and `doctor` call it read-only, with a schema and without one.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_database_is_called_so() {
    let rig = Rig::new().await;
    let list = rig.list("a.txt", &rig.pictures(1)).display().to_string();
    let submit = ["submit", "--job-id", "1", "--urls", &list];
    for has_schema in [false, true] {
        if has_schema {
            assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
        }
        set_read_only(&rig, true).await;
        let mut answers = vec![rig.chunkctl(&submit)];
        if !has_schema {
            answers.push(rig.chunkctl(&["migrate"]));
        }
        for answer in answers {
            assert_eq!(answer.code, Some(1), "{answer:?}");
            assert!(answer.stderr.contains("the database is read-only"), "{}", answer.stderr);
            assert!(!answer.stderr.contains("another build"), "{}", answer.stderr);
        }
        let answer = doctor(&rig, &[], &["--json"]);
        names(&answer, "Postgres", &["it is read-only", "default_transaction_read_only", "disk"]);
        if has_schema {
            names(&answer, "rights", &["the server is read-only"]);
        }
        set_read_only(&rig, false).await;
    }
    assert_eq!(rig.chunkctl(&submit).code, Some(0));
}

/// Case 215, I13: a handler says so, holds its chunk, and completes it at its first attempt.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_holds_its_work_while_the_database_is_read_only() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    set_read_only(&rig, true).await;
    let handler = support::rig::Handler::spawn(rig.environment(), &[]);
    handler.answers().await;
    let message = inline(1, 0, &rig.pictures(2));
    let (answer, ()) = tokio::join!(handler.deliver("one", &message), async {
        handler.line("the database is read-only").await;
        set_read_only(&rig, false).await;
    });
    assert!(answer.1["Logs"][0].as_str().unwrap().contains("completed"), "{}", answer.1);
    let row = "select attempt from chunk_handler.chunk_status";
    assert_eq!(rig.value::<i32>(row).await, 1);
}
