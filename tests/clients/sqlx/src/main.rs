//! sqlx with its defaults: every statement with values is prepared and binary, a text without them goes as it is.

use futures_util::TryStreamExt;
use sqlx::mysql::{MySqlConnection, MySqlDatabaseError};
use sqlx::{Connection, Executor, Row};
use tokio::io::AsyncBufReadExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), sqlx::Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (url, mode) = (&arguments[0], arguments[1].as_str());
    let argument = arguments.get(2).map_or("", String::as_str);
    let mut connection = MySqlConnection::connect(url).await?;
    match mode {
        "read" => return read(&mut connection).await,
        "delete" => {
            let text = format!("DELETE FROM {argument} WHERE n > ?");
            let done = sqlx::query(&text).bind(3).execute(&mut connection).await;
            match done {
                Ok(done) => println!("rows {}", done.rows_affected()),
                Err(error) => report(&error),
            }
        }
        "transaction" => transaction(&mut connection, argument).await?,
        "cancel" => {
            // Dropping a query closes its connection: its users call KILL QUERY elsewhere.
            let id: u64 = sqlx::query_scalar("SELECT CONNECTION_ID()")
                .fetch_one(&mut connection)
                .await?;
            let cancel = cancel_when_told(url, id);
            let (run, cancelled) = tokio::join!(connection.execute(argument), cancel);
            say(run.map(|_| ()));
            cancelled?;
        }
        _ => say(connection.execute(argument).await.map(|_| ())),
    }
    let one: i64 = sqlx::query_scalar("SELECT 1").fetch_one(&mut connection).await?;
    println!("after {one}");
    connection.close().await
}

fn say(done: Result<(), sqlx::Error>) {
    match done {
        Ok(()) => println!("ok"),
        Err(error) => report(&error),
    }
}

fn report(error: &sqlx::Error) {
    let said = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
    let number = said.map_or(0, MySqlDatabaseError::number);
    let message = said.map_or_else(|| error.to_string(), |said| said.message().to_owned());
    println!("error {number} {}", message.lines().next().unwrap_or_default());
    println!("shown {}", serde_json::Value::String(error.to_string()));
}

async fn read(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    let mut rows = 0;
    rows += connection
        .fetch_all("SELECT id, status, note FROM orders ORDER BY id LIMIT 5")
        .await?
        .len();
    for id in 1..4 {
        let customer = sqlx::query("SELECT name FROM customers WHERE id = ?").bind(id);
        rows += customer.fetch_all(&mut *connection).await?.len();
    }
    let mut stream = sqlx::query("SELECT id FROM orders WHERE id < ? ORDER BY id")
        .bind(9)
        .fetch(&mut *connection);
    while let Some(row) = stream.try_next().await? {
        assert!(row.get::<i32, _>(0) < 9);
        rows += 1;
    }
    drop(stream);
    connection.describe("SELECT id, name FROM customers").await?;
    connection.ping().await?;
    println!("rows {rows}");
    Ok(())
}

async fn transaction(connection: &mut MySqlConnection, table: &str) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let insert = format!("INSERT INTO {table} (n) VALUES (?)");
    sqlx::query(&insert).bind(6).execute(&mut *transaction).await?;
    let drop_table = format!("DROP TABLE {table}_gone");
    say(transaction.execute(drop_table.as_str()).await.map(|_| ()));
    let count = format!("SELECT COUNT(*) FROM {table}");
    let count: i64 = sqlx::query_scalar(&count).fetch_one(&mut *transaction).await?;
    println!("inside {count}");
    transaction.rollback().await
}

async fn cancel_when_told(url: &str, id: u64) -> Result<(), sqlx::Error> {
    let mut line = String::new();
    tokio::io::BufReader::new(tokio::io::stdin())
        .read_line(&mut line)
        .await?;
    let mut other = MySqlConnection::connect(url).await?;
    other.execute(format!("KILL QUERY {id}").as_str()).await?;
    other.close().await
}
