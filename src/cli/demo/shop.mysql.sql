-- The sample database of `countersign demo` for MariaDB: the tables and rows of `shop.sql`, as far as it can say them.
-- Run as `shop_owner`, who owns everything here and is no superuser; agents are mapped to that account.

SET NAMES utf8mb4;

CREATE TABLE countries (
    code CHAR(2) PRIMARY KEY,
    name VARCHAR(80) NOT NULL UNIQUE,
    vat_percent DECIMAL(4, 2) NOT NULL CHECK (vat_percent BETWEEN 0 AND 30)
);

CREATE TABLE staff (
    id INT AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(120) NOT NULL,
    email VARCHAR(120) NOT NULL UNIQUE,
    manager_id INT,
    hired_on DATE NOT NULL,
    FOREIGN KEY (manager_id) REFERENCES staff (id)
);

CREATE TABLE customers (
    id BIGINT AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(120) NOT NULL,
    email VARCHAR(120) NOT NULL UNIQUE,
    phone VARCHAR(40),
    preferences JSON NOT NULL DEFAULT '{}' COMMENT 'Newsletter and language, as the web shop keeps them',
    created_at DATETIME NOT NULL,
    updated_at DATETIME NOT NULL
) COMMENT 'People who have ordered at least once; personal data';

CREATE TABLE addresses (
    id BIGINT AUTO_INCREMENT PRIMARY KEY,
    customer_id BIGINT NOT NULL,
    street VARCHAR(120) NOT NULL,
    postcode VARCHAR(20) NOT NULL,
    city VARCHAR(80) NOT NULL,
    country_code CHAR(2) NOT NULL,
    FOREIGN KEY (customer_id) REFERENCES customers (id) ON DELETE CASCADE,
    FOREIGN KEY (country_code) REFERENCES countries (code)
);

CREATE TABLE categories (
    id INT AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(80) NOT NULL UNIQUE,
    parent_id INT,
    FOREIGN KEY (parent_id) REFERENCES categories (id)
);

CREATE TABLE suppliers (
    id INT AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(120) NOT NULL UNIQUE,
    country_code CHAR(2) NOT NULL,
    iban VARCHAR(34) NOT NULL COMMENT 'Bank account, confidential',
    FOREIGN KEY (country_code) REFERENCES countries (code)
);

CREATE TABLE products (
    id INT AUTO_INCREMENT PRIMARY KEY,
    sku VARCHAR(20) NOT NULL UNIQUE,
    name VARCHAR(120) NOT NULL,
    category_id INT NOT NULL,
    supplier_id INT NOT NULL,
    price_cents INT NOT NULL CHECK (price_cents > 0),
    attributes JSON NOT NULL DEFAULT '{}',
    discontinued BOOLEAN NOT NULL DEFAULT FALSE,
    FOREIGN KEY (category_id) REFERENCES categories (id),
    FOREIGN KEY (supplier_id) REFERENCES suppliers (id)
);

CREATE TABLE warehouses (
    id INT AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(80) NOT NULL UNIQUE,
    country_code CHAR(2) NOT NULL,
    FOREIGN KEY (country_code) REFERENCES countries (code)
);

CREATE TABLE stock (
    product_id INT NOT NULL,
    warehouse_id INT NOT NULL,
    quantity INT NOT NULL CHECK (quantity >= 0),
    PRIMARY KEY (product_id, warehouse_id),
    FOREIGN KEY (product_id) REFERENCES products (id),
    FOREIGN KEY (warehouse_id) REFERENCES warehouses (id)
);

CREATE TABLE orders (
    id BIGINT AUTO_INCREMENT PRIMARY KEY,
    customer_id BIGINT NOT NULL,
    address_id BIGINT,
    status ENUM ('placed', 'paid', 'shipped', 'delivered', 'returned', 'cancelled') NOT NULL DEFAULT 'placed',
    placed_at DATETIME NOT NULL,
    note TEXT,
    FOREIGN KEY (customer_id) REFERENCES customers (id),
    FOREIGN KEY (address_id) REFERENCES addresses (id) ON DELETE SET NULL
) COMMENT 'One row for each order; its lines are in order_items';

CREATE TABLE order_items (
    order_id BIGINT NOT NULL,
    line SMALLINT NOT NULL,
    product_id INT NOT NULL,
    quantity INT NOT NULL CHECK (quantity > 0),
    price_cents INT NOT NULL,
    PRIMARY KEY (order_id, line),
    FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE CASCADE,
    FOREIGN KEY (product_id) REFERENCES products (id)
);

CREATE TABLE payments (
    id BIGINT AUTO_INCREMENT PRIMARY KEY,
    order_id BIGINT NOT NULL,
    amount_cents INT NOT NULL CHECK (amount_cents > 0),
    method VARCHAR(10) NOT NULL CHECK (method IN ('card', 'invoice', 'transfer')),
    paid_at DATETIME NOT NULL,
    FOREIGN KEY (order_id) REFERENCES orders (id)
) COMMENT 'Billing reads this table every night';

CREATE TABLE reviews (
    id BIGINT AUTO_INCREMENT PRIMARY KEY,
    product_id INT NOT NULL,
    customer_id BIGINT NOT NULL,
    stars SMALLINT NOT NULL CHECK (stars BETWEEN 1 AND 5),
    body TEXT NOT NULL,
    written_at DATETIME NOT NULL,
    FOREIGN KEY (product_id) REFERENCES products (id) ON DELETE CASCADE,
    FOREIGN KEY (customer_id) REFERENCES customers (id) ON DELETE CASCADE
);

-- Left over from an import that nobody remembers: what an agent likes to tidy away.
CREATE TABLE orders_import_2023 (
    legacy_id BIGINT,
    payload JSON,
    imported_at DATETIME
) COMMENT 'Raw rows of the import of March 2023';

INSERT INTO countries (code, name, vat_percent) VALUES
    ('AT', 'Austria', 20), ('BE', 'Belgium', 21), ('CH', 'Switzerland', 8.1), ('CZ', 'Czechia', 21),
    ('DE', 'Germany', 19), ('DK', 'Denmark', 25), ('ES', 'Spain', 21), ('FI', 'Finland', 25.5),
    ('FR', 'France', 20), ('IE', 'Ireland', 23), ('IT', 'Italy', 22), ('NL', 'Netherlands', 21),
    ('NO', 'Norway', 25), ('PL', 'Poland', 23), ('PT', 'Portugal', 23), ('SE', 'Sweden', 25);

INSERT INTO staff (id, name, email, manager_id, hired_on)
SELECT seq, CONCAT('Staff ', seq), CONCAT('staff', seq, '@shop.example'), IF(seq > 1, 1 + seq DIV 8, NULL),
       DATE '2016-01-01' + INTERVAL seq * 61 DAY
FROM seq_1_to_40;

INSERT INTO customers (id, name, email, phone, preferences, created_at, updated_at)
SELECT seq,
       CONCAT(ELT(1 + seq % 10, 'Ada', 'Björn', 'Chloé', 'Dmitri', 'Elif', 'Femke', 'Giulia', 'Håkon', 'Inés', 'Jürgen'), ' ',
              ELT(1 + seq % 9, 'Bauer', 'Costa', 'Dubois', 'Eriksen', 'Ferrari', 'Hansen', 'Kowalski', 'Novák', 'Peeters')),
       CONCAT('customer', seq, '@mail.example'),
       IF(seq % 3 > 0, CONCAT('+49 30 ', 1000000 + seq * 7919 % 9000000), NULL),
       JSON_OBJECT('newsletter', JSON_EXTRACT(IF(seq % 2 = 0, 'true', 'false'), '$'),
                   'language', ELT(1 + seq % 4, 'en', 'de', 'fr', 'it')),
       TIMESTAMP '2021-01-01 00:00:00' + INTERVAL seq * 4 HOUR,
       TIMESTAMP '2021-01-01 00:00:00' + INTERVAL seq * 4 HOUR
FROM seq_1_to_8000;

INSERT INTO addresses (id, customer_id, street, postcode, city, country_code)
SELECT seq, 1 + (seq - 1) % 8000, CONCAT('Market Street ', 1 + seq % 240), LPAD(seq * 37 % 100000, 5, '0'),
       ELT(1 + seq % 8, 'Berlin', 'Lyon', 'Porto', 'Graz', 'Gent', 'Turku', 'Cork', 'Brno'),
       ELT(1 + seq % 8, 'DE', 'FR', 'PT', 'AT', 'BE', 'FI', 'IE', 'CZ')
FROM seq_1_to_9000;

INSERT INTO categories (id, name, parent_id)
SELECT seq, ELT(seq, 'Kitchen', 'Garden', 'Office', 'Sports'), NULL FROM seq_1_to_4;
INSERT INTO categories (id, name, parent_id)
SELECT 4 + (parent.seq - 1) * 5 + child.seq,
       CONCAT(ELT(parent.seq, 'Kitchen', 'Garden', 'Office', 'Sports'), ' ',
              ELT(child.seq, 'basics', 'tools', 'spares', 'gifts', 'sale')), parent.seq
FROM seq_1_to_4 AS parent, seq_1_to_5 AS child;

INSERT INTO suppliers (id, name, country_code, iban)
SELECT seq, CONCAT('Supplier ', seq), ELT(1 + seq % 5, 'DE', 'NL', 'IT', 'PL', 'SE'),
       CONCAT('DE', 10000000000000000000 + seq * 7919)
FROM seq_1_to_150;

INSERT INTO products (id, sku, name, category_id, supplier_id, price_cents, attributes, discontinued)
SELECT seq, CONCAT('SKU-', LPAD(seq, 5, '0')),
       CONCAT(ELT(1 + seq % 5, 'Oak', 'Steel', 'Linen', 'Glass', 'Cork'), ' ',
              ELT(1 + seq % 6, 'bowl', 'rake', 'lamp', 'mat', 'bottle', 'shelf'), ' ', seq),
       5 + seq % 20, 1 + seq % 150, 199 + seq * 97 % 20000,
       JSON_OBJECT('colour', ELT(1 + seq % 3, 'red', 'green', 'blue'), 'weight_g', 50 + seq * 13 % 4000),
       seq % 50 = 0
FROM seq_1_to_1200;

INSERT INTO warehouses (id, name, country_code) VALUES
    (1, 'Berlin', 'DE'), (2, 'Lyon', 'FR'), (3, 'Porto', 'PT'), (4, 'Graz', 'AT'), (5, 'Gent', 'BE'), (6, 'Turku', 'FI');

INSERT INTO stock (product_id, warehouse_id, quantity)
SELECT product.seq, warehouse.seq, (product.seq * 31 + warehouse.seq * 17) % 120
FROM seq_1_to_1200 AS product, seq_1_to_6 AS warehouse;

INSERT INTO orders (id, customer_id, address_id, status, placed_at, note)
SELECT seq, 1 + seq * 7 % 8000, 1 + seq * 7 % 8000,
       ELT(1 + seq % 8, 'delivered', 'delivered', 'delivered', 'shipped', 'paid', 'returned', 'cancelled', 'placed'),
       TIMESTAMP '2022-01-01 00:00:00' + INTERVAL seq * 2 HOUR,
       IF(seq % 25 = 0, 'leave with the neighbour', NULL)
FROM seq_1_to_15000;

INSERT INTO order_items (order_id, line, product_id, quantity, price_cents)
SELECT placed.seq, line.seq, products.id, 1 + (placed.seq + line.seq) % 4, products.price_cents
FROM seq_1_to_15000 AS placed
JOIN seq_1_to_4 AS line ON line.seq <= 1 + placed.seq % 4
JOIN products ON products.id = 1 + (placed.seq * 11 + line.seq * 53) % 1200;

INSERT INTO payments (order_id, amount_cents, method, paid_at)
SELECT orders.id, SUM(order_items.quantity * order_items.price_cents),
       ELT(1 + orders.id % 3, 'card', 'invoice', 'transfer'), orders.placed_at + INTERVAL 1 HOUR
FROM orders JOIN order_items ON order_items.order_id = orders.id
WHERE orders.status NOT IN ('placed', 'cancelled')
GROUP BY orders.id;

INSERT INTO reviews (id, product_id, customer_id, stars, body, written_at)
SELECT seq, 1 + seq * 13 % 1200, 1 + seq * 29 % 8000, 1 + seq * 7 % 5,
       ELT(1 + seq % 4, 'Does what it should.', 'Arrived late, works well.', 'Smaller than expected.', 'Would buy again.'),
       TIMESTAMP '2022-06-01 00:00:00' + INTERVAL seq * 3 HOUR
FROM seq_1_to_6000;

INSERT INTO orders_import_2023 (legacy_id, payload, imported_at)
SELECT seq, JSON_OBJECT('customer', seq % 900, 'total', seq * 37 % 50000), TIMESTAMP '2023-03-01 09:00:00'
FROM seq_1_to_5000;

CREATE INDEX orders_by_customer ON orders (customer_id, placed_at DESC);
CREATE INDEX orders_by_status ON orders (status, placed_at);
CREATE INDEX reviews_by_stars ON reviews (product_id, stars);

CREATE VIEW order_totals AS
SELECT orders.id AS order_id, orders.customer_id, orders.status, orders.placed_at,
       SUM(order_items.quantity * order_items.price_cents) AS total_cents
FROM orders JOIN order_items ON order_items.order_id = orders.id
GROUP BY orders.id;

CREATE VIEW customer_spending AS
SELECT customers.id AS customer_id, customers.name, COUNT(*) AS orders, SUM(order_totals.total_cents) AS total_cents
FROM customers JOIN order_totals ON order_totals.customer_id = customers.id
WHERE order_totals.status IN ('paid', 'shipped', 'delivered')
GROUP BY customers.id;

CREATE VIEW products_to_reorder AS
SELECT products.id, products.sku, products.name, suppliers.name AS supplier, SUM(stock.quantity) AS in_stock
FROM products
JOIN suppliers ON suppliers.id = products.supplier_id
JOIN stock ON stock.product_id = products.id
WHERE NOT products.discontinued
GROUP BY products.id
HAVING SUM(stock.quantity) < 200;

DELIMITER //

CREATE TRIGGER customers_touch BEFORE UPDATE ON customers
FOR EACH ROW SET NEW.updated_at = NOW() //

CREATE FUNCTION order_total_cents(wanted BIGINT) RETURNS BIGINT
READS SQL DATA
RETURN (SELECT COALESCE(SUM(quantity * price_cents), 0) FROM order_items WHERE order_id = wanted) //

CREATE FUNCTION cancel_order(wanted BIGINT) RETURNS VARCHAR(10)
MODIFIES SQL DATA
COMMENT 'Cancels an order that has not been shipped'
BEGIN
    UPDATE orders SET status = 'cancelled' WHERE id = wanted AND status IN ('placed', 'paid');
    IF ROW_COUNT() = 0 THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'the order cannot be cancelled any more';
    END IF;
    RETURN 'cancelled';
END //

DELIMITER ;

ANALYZE TABLE countries, staff, customers, addresses, categories, suppliers, products, warehouses, stock, orders,
    order_items, payments, reviews, orders_import_2023;
