-- The sample database of `countersign demo`: a small shop, about 100,000 rows, the same on every run.
-- Run as `shop_owner`, who owns everything here and is no superuser; agents are mapped to that role.

BEGIN;

CREATE TYPE order_status AS ENUM ('placed', 'paid', 'shipped', 'delivered', 'returned', 'cancelled');

CREATE TABLE countries (
    code char(2) PRIMARY KEY,
    name text NOT NULL UNIQUE,
    vat_percent numeric(4, 2) NOT NULL CHECK (vat_percent BETWEEN 0 AND 30)
);

CREATE TABLE staff (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL UNIQUE,
    manager_id integer REFERENCES staff,
    hired_on date NOT NULL
);

CREATE TABLE customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL UNIQUE,
    phone text,
    preferences jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE addresses (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES customers ON DELETE CASCADE,
    street text NOT NULL,
    postcode text NOT NULL,
    city text NOT NULL,
    country_code char(2) NOT NULL REFERENCES countries
);

CREATE TABLE categories (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    parent_id integer REFERENCES categories
);

CREATE TABLE suppliers (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    country_code char(2) NOT NULL REFERENCES countries,
    iban text NOT NULL
);

CREATE TABLE products (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sku text NOT NULL UNIQUE,
    name text NOT NULL,
    category_id integer NOT NULL REFERENCES categories,
    supplier_id integer NOT NULL REFERENCES suppliers,
    price_cents integer NOT NULL CHECK (price_cents > 0),
    attributes jsonb NOT NULL DEFAULT '{}',
    discontinued boolean NOT NULL DEFAULT false
);

CREATE TABLE warehouses (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    country_code char(2) NOT NULL REFERENCES countries
);

CREATE TABLE stock (
    product_id integer NOT NULL REFERENCES products,
    warehouse_id integer NOT NULL REFERENCES warehouses,
    quantity integer NOT NULL CHECK (quantity >= 0),
    PRIMARY KEY (product_id, warehouse_id)
);

CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES customers,
    address_id bigint REFERENCES addresses ON DELETE SET NULL,
    status order_status NOT NULL DEFAULT 'placed',
    placed_at timestamptz NOT NULL,
    note text
);

CREATE TABLE order_items (
    order_id bigint NOT NULL REFERENCES orders ON DELETE CASCADE,
    line smallint NOT NULL,
    product_id integer NOT NULL REFERENCES products,
    quantity integer NOT NULL CHECK (quantity > 0),
    price_cents integer NOT NULL,
    PRIMARY KEY (order_id, line)
);

CREATE TABLE payments (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES orders,
    amount_cents integer NOT NULL CHECK (amount_cents > 0),
    method text NOT NULL CHECK (method IN ('card', 'invoice', 'transfer')),
    paid_at timestamptz NOT NULL
);

CREATE TABLE reviews (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product_id integer NOT NULL REFERENCES products ON DELETE CASCADE,
    customer_id bigint NOT NULL REFERENCES customers ON DELETE CASCADE,
    stars smallint NOT NULL CHECK (stars BETWEEN 1 AND 5),
    body text NOT NULL,
    written_at timestamptz NOT NULL
);

-- Left over from an import that nobody remembers: what an agent likes to tidy away.
CREATE TABLE orders_import_2023 (
    legacy_id bigint,
    payload jsonb,
    imported_at timestamptz
);

CREATE FUNCTION order_total_cents(wanted bigint) RETURNS bigint
    LANGUAGE sql STABLE
    RETURN (SELECT coalesce(sum(quantity * price_cents), 0) FROM order_items WHERE order_id = wanted);

CREATE FUNCTION touch_updated_at() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

CREATE FUNCTION cancel_order(wanted bigint) RETURNS order_status
    LANGUAGE plpgsql AS $$
BEGIN
    UPDATE orders SET status = 'cancelled' WHERE id = wanted AND status IN ('placed', 'paid');
    IF NOT FOUND THEN
        RAISE EXCEPTION 'order % cannot be cancelled any more', wanted;
    END IF;
    RETURN 'cancelled';
END
$$;

INSERT INTO countries (code, name, vat_percent) VALUES
    ('AT', 'Austria', 20), ('BE', 'Belgium', 21), ('CH', 'Switzerland', 8.1), ('CZ', 'Czechia', 21),
    ('DE', 'Germany', 19), ('DK', 'Denmark', 25), ('ES', 'Spain', 21), ('FI', 'Finland', 25.5),
    ('FR', 'France', 20), ('IE', 'Ireland', 23), ('IT', 'Italy', 22), ('NL', 'Netherlands', 21),
    ('NO', 'Norway', 25), ('PL', 'Poland', 23), ('PT', 'Portugal', 23), ('SE', 'Sweden', 25);

INSERT INTO staff (name, email, manager_id, hired_on)
SELECT format('Staff %s', n), format('staff%s@shop.example', n), CASE WHEN n > 1 THEN 1 + n / 8 END,
       date '2016-01-01' + n * 61
FROM generate_series(1, 40) AS n;

INSERT INTO customers (name, email, phone, preferences, created_at, updated_at)
SELECT (ARRAY['Ada', 'Björn', 'Chloé', 'Dmitri', 'Elif', 'Femke', 'Giulia', 'Håkon', 'Inés', 'Jürgen'])[1 + n % 10]
           || ' ' ||
       (ARRAY['Bauer', 'Costa', 'Dubois', 'Eriksen', 'Ferrari', 'Hansen', 'Kowalski', 'Novák', 'Peeters'])[1 + n % 9],
       format('customer%s@mail.example', n),
       CASE WHEN n % 3 > 0 THEN format('+49 30 %s', 1000000 + n * 7919 % 9000000) END,
       jsonb_build_object('newsletter', n % 2 = 0, 'language', (ARRAY['en', 'de', 'fr', 'it'])[1 + n % 4]),
       timestamptz '2021-01-01 00:00+00' + n * interval '4 hours',
       timestamptz '2021-01-01 00:00+00' + n * interval '4 hours'
FROM generate_series(1, 8000) AS n;

INSERT INTO addresses (customer_id, street, postcode, city, country_code)
SELECT 1 + (n - 1) % 8000, format('Market Street %s', 1 + n % 240), lpad((n * 37 % 100000)::text, 5, '0'),
       (ARRAY['Berlin', 'Lyon', 'Porto', 'Graz', 'Gent', 'Turku', 'Cork', 'Brno'])[1 + n % 8],
       (ARRAY['DE', 'FR', 'PT', 'AT', 'BE', 'FI', 'IE', 'CZ'])[1 + n % 8]
FROM generate_series(1, 9000) AS n;

INSERT INTO categories (name, parent_id)
SELECT name, NULL FROM unnest(ARRAY['Kitchen', 'Garden', 'Office', 'Sports']) AS name;
INSERT INTO categories (name, parent_id)
SELECT format('%s %s', parent.name, child), parent.id
FROM categories AS parent, unnest(ARRAY['basics', 'tools', 'spares', 'gifts', 'sale']) AS child;

INSERT INTO suppliers (name, country_code, iban)
SELECT format('Supplier %s', n), (ARRAY['DE', 'NL', 'IT', 'PL', 'SE'])[1 + n % 5],
       format('DE%s', 10000000000000000000 + n * 7919::numeric)
FROM generate_series(1, 150) AS n;

INSERT INTO products (sku, name, category_id, supplier_id, price_cents, attributes, discontinued)
SELECT format('SKU-%s', lpad(n::text, 5, '0')),
       (ARRAY['Oak', 'Steel', 'Linen', 'Glass', 'Cork'])[1 + n % 5] || ' ' ||
       (ARRAY['bowl', 'rake', 'lamp', 'mat', 'bottle', 'shelf'])[1 + n % 6] || ' ' || n,
       5 + n % 20, 1 + n % 150, 199 + n * 97 % 20000,
       jsonb_build_object('colour', (ARRAY['red', 'green', 'blue'])[1 + n % 3], 'weight_g', 50 + n * 13 % 4000),
       n % 50 = 0
FROM generate_series(1, 1200) AS n;

INSERT INTO warehouses (name, country_code) VALUES
    ('Berlin', 'DE'), ('Lyon', 'FR'), ('Porto', 'PT'), ('Graz', 'AT'), ('Gent', 'BE'), ('Turku', 'FI');

INSERT INTO stock (product_id, warehouse_id, quantity)
SELECT product, warehouse, (product * 31 + warehouse * 17) % 120
FROM generate_series(1, 1200) AS product, generate_series(1, 6) AS warehouse;

INSERT INTO orders (customer_id, address_id, status, placed_at, note)
SELECT 1 + n * 7 % 8000, 1 + n * 7 % 8000,
       (ARRAY['delivered', 'delivered', 'delivered', 'shipped', 'paid', 'returned', 'cancelled', 'placed'])[1 + n % 8]
           ::order_status,
       timestamptz '2022-01-01 00:00+00' + n * interval '2 hours',
       CASE WHEN n % 25 = 0 THEN 'leave with the neighbour' END
FROM generate_series(1, 15000) AS n;

INSERT INTO order_items (order_id, line, product_id, quantity, price_cents)
SELECT placed, line, product.id, 1 + (placed + line) % 4, product.price_cents
FROM generate_series(1, 15000) AS placed,
     generate_series(1, 1 + placed % 4) AS line,
     LATERAL (SELECT id, price_cents FROM products WHERE id = 1 + (placed * 11 + line * 53) % 1200) AS product;

INSERT INTO payments (order_id, amount_cents, method, paid_at)
SELECT orders.id, sum(order_items.quantity * order_items.price_cents),
       (ARRAY['card', 'invoice', 'transfer'])[1 + orders.id % 3], orders.placed_at + interval '1 hour'
FROM orders JOIN order_items ON order_items.order_id = orders.id
WHERE orders.status NOT IN ('placed', 'cancelled')
GROUP BY orders.id;

INSERT INTO reviews (product_id, customer_id, stars, body, written_at)
SELECT 1 + n * 13 % 1200, 1 + n * 29 % 8000, 1 + n * 7 % 5,
       (ARRAY['Does what it should.', 'Arrived late, works well.', 'Smaller than expected.', 'Would buy again.'])[1 + n % 4],
       timestamptz '2022-06-01 00:00+00' + n * interval '3 hours'
FROM generate_series(1, 6000) AS n;

INSERT INTO orders_import_2023 (legacy_id, payload, imported_at)
SELECT n, jsonb_build_object('customer', n % 900, 'total', n * 37 % 50000), timestamptz '2023-03-01 09:00+00'
FROM generate_series(1, 5000) AS n;

CREATE INDEX ON addresses (customer_id);
CREATE INDEX ON products (category_id);
CREATE INDEX ON products USING gin (attributes);
CREATE INDEX ON orders (customer_id, placed_at DESC);
CREATE INDEX orders_open ON orders (placed_at) WHERE status IN ('placed', 'paid');
CREATE INDEX ON order_items (product_id);
CREATE INDEX ON payments (order_id);
CREATE INDEX ON reviews (product_id, stars);

CREATE TRIGGER customers_touch BEFORE UPDATE ON customers
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

CREATE VIEW order_totals AS
SELECT orders.id AS order_id, orders.customer_id, orders.status, orders.placed_at,
       sum(order_items.quantity * order_items.price_cents) AS total_cents
FROM orders JOIN order_items ON order_items.order_id = orders.id
GROUP BY orders.id;

CREATE VIEW customer_spending AS
SELECT customers.id AS customer_id, customers.name, count(*) AS orders, sum(order_totals.total_cents) AS total_cents
FROM customers JOIN order_totals ON order_totals.customer_id = customers.id
WHERE order_totals.status IN ('paid', 'shipped', 'delivered')
GROUP BY customers.id;

CREATE VIEW products_to_reorder AS
SELECT products.id, products.sku, products.name, suppliers.name AS supplier, sum(stock.quantity) AS in_stock
FROM products
JOIN suppliers ON suppliers.id = products.supplier_id
JOIN stock ON stock.product_id = products.id
WHERE NOT products.discontinued
GROUP BY products.id, suppliers.name
HAVING sum(stock.quantity) < 200;

COMMENT ON TABLE customers IS 'People who have ordered at least once; personal data';
COMMENT ON COLUMN customers.preferences IS 'Newsletter and language, as the web shop keeps them';
COMMENT ON TABLE orders IS 'One row for each order; its lines are in order_items';
COMMENT ON TABLE payments IS 'Billing reads this table every night';
COMMENT ON COLUMN suppliers.iban IS 'Bank account, confidential';
COMMENT ON TABLE orders_import_2023 IS 'Raw rows of the import of March 2023';
COMMENT ON VIEW customer_spending IS 'What each customer has spent on orders that were kept';
COMMENT ON FUNCTION cancel_order(bigint) IS 'Cancels an order that has not been shipped';

COMMIT;

ANALYZE countries, staff, customers, addresses, categories, suppliers, products, warehouses, stock, orders, order_items,
    payments, reviews, orders_import_2023;
