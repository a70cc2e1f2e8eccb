//! The demo in front of MariaDB: the same shop, the same promises, by MySQL's protocol.

use std::path::PathBuf;

use mysql_async::prelude::{FromValue, Queryable};
use mysql_async::{Conn, Opts};
use rustix::process::Signal;

use crate::support::child::Demo;
use crate::support::mariadb::Mariadb;
use crate::support::server::{connect as connect_postgres, eventually};

async fn connect(url: &str) -> Conn {
    Conn::new(Opts::from_url(url).expect("a URL"))
        .await
        .expect("connects")
}

async fn one<T: FromValue + Send + 'static>(client: &mut Conn, text: &str) -> T {
    client
        .query_first(text)
        .await
        .expect("an answer")
        .expect("one row")
}

/// What a table holds, for both servers: how many rows, and a sum that another row would change.
const SAME: [&str; 13] = [
    "SELECT count(*), sum(vat_percent) FROM countries",
    "SELECT count(*), sum(manager_id) FROM staff",
    "SELECT count(*), count(phone) FROM customers",
    "SELECT count(*), sum(customer_id) FROM addresses",
    "SELECT count(*), sum(parent_id) FROM categories",
    "SELECT count(*), count(DISTINCT iban) FROM suppliers",
    "SELECT count(*), sum(price_cents + category_id * supplier_id) FROM products",
    "SELECT count(*), sum(quantity) FROM stock",
    "SELECT count(*), sum(customer_id) FROM orders WHERE status = 'paid'",
    "SELECT count(*), sum(line * quantity * price_cents + product_id) FROM order_items",
    "SELECT count(*), sum(amount_cents) FROM payments WHERE method = 'card'",
    "SELECT count(*), sum(stars) FROM reviews",
    "SELECT count(*), sum(total_cents) FROM customer_spending",
];

#[tokio::test]
async fn sample_database_is_the_same_on_both_servers_and_its_owner_owns_nothing_else() {
    let demo = Demo::start(&[]);
    let postgres = connect_postgres(&demo.sheet.admin_postgres_url).await;
    let mut mysql = connect(&demo.sheet.admin_mysql_url).await;
    for text in SAME {
        let as_text = text.replacen("count(*), ", "count(*)::text || ' ' || (", 1);
        let as_text = as_text.replacen(" FROM", ")::numeric::text FROM", 1);
        let of_postgres: String = postgres.query_one(&as_text, &[]).await.expect("a row").get(0);
        let of_mysql: (i64, mysql_async::Value) =
            mysql.query_first(text).await.expect("an answer").expect("a row");
        let sum: String = mysql_async::from_value(of_mysql.1);
        assert_eq!(format!("{} {sum}", of_mysql.0), of_postgres, "{text}");
    }
    let who: (String, String) = mysql
        .query_first("SELECT substring_index(user(), '@', 1), database()")
        .await
        .expect("an answer")
        .expect("a row");
    assert_eq!(who, ("shop_owner".to_owned(), "shop".to_owned()));
    let grants: Vec<String> = mysql.query("SHOW GRANTS").await.expect("an answer");
    let grants = grants.join("\n");
    assert!(
        grants.contains("GRANT USAGE ON *.*") && grants.contains("GRANT ALL PRIVILEGES ON `shop`.*"),
        "{grants}"
    );
    let others: Vec<String> = mysql.query("SHOW DATABASES").await.expect("an answer");
    assert_eq!(others, ["information_schema", "shop"]);
}

/// An agent on the same machine must not find a way past the proxy.
#[tokio::test]
async fn nobody_gets_into_the_scratch_server_without_a_password() {
    let demo = Demo::start(&["--only", "mysql"]);
    let url = Opts::from_url(&demo.sheet.admin_mysql_url).expect("a URL");
    for user in ["root", "mysql", "nobody", "", "shop_owner", "countersign_root"] {
        let options = mysql_async::OptsBuilder::from_opts(url.clone());
        let options = options.user(Some(user)).pass(None::<String>).prefer_socket(false);
        assert!(Conn::new(options).await.is_err(), "`{user}` gets in");
    }
}

#[tokio::test]
async fn both_scratch_servers_and_their_folders_go_with_the_demo() {
    for (signal, ends_well) in [(Signal::TERM, true), (Signal::KILL, false)] {
        let mut demo = Demo::start(&[]);
        let mut client = connect(&demo.sheet.admin_mysql_url).await;
        let data: String = one(&mut client, "SELECT @@datadir").await;
        let mysql_folder = PathBuf::from(data)
            .parent()
            .expect("it is in a folder")
            .to_owned();
        let postgres_folder = demo
            .sheet
            .data_dir
            .parent()
            .expect("it is in a folder")
            .to_owned();
        assert_ne!(mysql_folder, postgres_folder);
        demo.process().signal(signal);
        assert_eq!(demo.process().wait().success(), ends_well);
        for folder in [&mysql_folder, &postgres_folder] {
            eventually("the folder has gone", async || !folder.exists()).await;
        }
        assert!(client.ping().await.is_err(), "the server has ended");
    }
}

#[tokio::test]
async fn only_one_protocol_is_served_where_only_one_is_asked_for() {
    let demo = Demo::start(&["--only", "mysql"]);
    assert!(demo.sheet.postgres_url.is_empty() && demo.sheet.admin_postgres_url.is_empty());
    assert!(demo.sheet.mysql_url.starts_with("mysql://shop-agent:"));
    connect(&demo.sheet.admin_mysql_url).await;
}

#[tokio::test]
async fn reads_pass_and_a_drop_waits_until_it_is_approved_or_denied() {
    let demo = Demo::start(&["--only", "mysql"]);
    let mut agent = connect(&demo.sheet.mysql_url).await;
    let mut admin = connect(&demo.sheet.admin_mysql_url).await;
    let orders: i64 = one(&mut agent, "SELECT count(*) FROM orders").await;
    assert_eq!(orders, 15_000);
    let names = "SELECT concat(current_user(), ' ', database())";
    let (through, past): (String, String) = (one(&mut agent, names).await, one(&mut admin, names).await);
    assert_eq!(through, past);

    let reviewer = demo.reviewer();
    let text = "DROP TABLE orders_import_2023";
    let (denied, ()) = tokio::join!(agent.query_drop(text), async {
        let held = reviewer.held("DROP TABLE").await;
        assert_eq!(held["principal"], demo.sheet.agent.as_str());
        reviewer.deny(&held, "billing reads it").await;
    });
    let denied = denied.expect_err("it was denied").to_string();
    assert!(
        denied.contains("1227") && denied.contains("billing reads it"),
        "{denied}"
    );
    let rows: i64 = one(&mut agent, "SELECT count(*) FROM orders_import_2023").await;
    assert_eq!(rows, 5_000, "it did not run, and the session goes on");

    let (dropped, ()) = tokio::join!(agent.query_drop(text), async {
        reviewer.approve(&reviewer.held("DROP TABLE").await).await;
    });
    dropped.expect("it was approved");
    let left: Vec<String> = admin
        .query("SHOW TABLES LIKE 'orders_import%'")
        .await
        .expect("an answer");
    assert!(left.is_empty());
}

/// What the demo's text tells a person to paste.
#[tokio::test]
async fn the_lines_to_paste_run_in_a_shell() {
    let mut command = std::process::Command::new(crate::support::server::PROGRAM);
    command.args(["demo", "--only", "mysql"]);
    let mut demo = crate::support::child::Process::spawn(command);
    let read = demo.next_line_of(&["  mariadb "]);
    let drop = demo.next_line().expect("another line");
    assert!(drop.contains("DROP TABLE orders_import_2023"), "{drop}");
    let ran = std::process::Command::new("sh")
        .args(["-c", &read])
        .output()
        .expect("a shell");
    let (said, errors) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert!(ran.status.success() && said.contains("15000"), "{said}{errors}");
}

/// With `--catalog` a view that calls what it should not is seen through.
#[tokio::test]
async fn the_catalog_of_the_scratch_server_is_read_where_it_is_asked_for() {
    let demo = Demo::start(&["--only", "mysql", "--catalog"]);
    let mut agent = connect(&demo.sheet.mysql_url).await;
    let reviewer = demo.reviewer();
    let (held, ()) = tokio::join!(agent.query_drop("SELECT cancel_order(8)"), async {
        let held = reviewer.held("cancel_order").await;
        reviewer.deny(&held, "it writes").await;
    });
    held.expect_err("it was denied");
    let totals: i64 = one(&mut agent, "SELECT count(*) FROM order_totals").await;
    assert_eq!(totals, 15_000);
}

#[tokio::test]
async fn a_server_that_is_there_already_is_served_with_the_user_that_was_named() {
    let server = Mariadb::start();
    server.run(
        "CREATE DATABASE own; CREATE USER app@'%' IDENTIFIED BY 'pa%ss'; GRANT ALL ON own.* TO app@'%';",
    );
    let url = server.url("app", "pa%25ss", "own");
    let demo = Demo::start(&["--upstream-mysql", &url]);
    assert_eq!(demo.sheet.admin_mysql_url, url);
    let mut agent = connect(&demo.sheet.mysql_url).await;
    let who: String = one(
        &mut agent,
        "SELECT concat(substring_index(user(), '@', 1), ' ', database())",
    )
    .await;
    assert_eq!(who, "app own");
}
