-- What orderkit keeps of one order that is placed and paid, as one transaction: the same rows, in the same tables.
\set product random(1, :products)
\set customer random(1, :customers)
BEGIN;
INSERT INTO idempotency_keys (user_id, key, fingerprint, resource_id, lease_until, created_at)
VALUES (lpad(to_hex(:customer::int), 32, '0')::uuid, gen_random_uuid()::text, repeat('f', 64), uuidv7(), now() + interval '10 s', now())
ON CONFLICT DO NOTHING
RETURNING user_id, key, resource_id AS order_id, uuidv7() AS payment_id \gset
SELECT sku, name, unit_price FROM products
WHERE sku = 'SKU-' || lpad(:product::text, 4, '0')
ORDER BY sku FOR NO KEY UPDATE \gset
INSERT INTO orders (id, user_id, idempotency_key, status, currency, total, version, created_at, updated_at)
VALUES (:order_id, :user_id, :key, 'pending', 'GBP', :unit_price, 1, now(), now());
INSERT INTO order_items (order_id, line, sku, name, quantity, unit_price, line_total)
VALUES (:order_id, 1, :sku, :name, 1, :unit_price, :unit_price);
INSERT INTO order_history (order_id, version, to_status, actor_id, reason, request_id, at)
VALUES (:order_id, 1, 'pending', :user_id, 'placed', repeat('r', 32), now());
INSERT INTO payments (id, order_id, status, method, amount, currency, refunded, attempts, run_at, created_at, updated_at)
VALUES (:payment_id, :order_id, 'created', 'pm_card_visa', :unit_price, 'GBP', 0, 0, now() + interval '10 s', now(), now());
UPDATE products SET stock = stock - 1 WHERE sku = :sku;
UPDATE payments
SET status = 'captured', provider_reference = 'ch_' || :order_id::text, attempts = 1, run_at = now(), updated_at = now()
WHERE id = :payment_id AND status IN ('created', 'unknown');
INSERT INTO payment_attempts (id, payment_id, number, operation, outcome, detail, started_at, duration_ms)
VALUES (uuidv7(), :payment_id, 1, 'charge', 'captured', 'ch_' || :order_id::text, now(), 0);
UPDATE orders SET status = 'paid', version = 2, updated_at = now() WHERE id = :order_id AND status = 'pending';
INSERT INTO order_history (order_id, version, from_status, to_status, reason, request_id, at)
VALUES (:order_id, 2, 'pending', 'paid', 'payment captured', repeat('r', 32), now());
INSERT INTO outbox (id, order_id, sequence, type, payload, created_at)
VALUES (uuidv7(), :order_id, 2, 'order.paid',
  json_build_object('user_id', :user_id::text, 'currency', 'GBP', 'total', :unit_price::int, 'reason', 'payment captured'), now());
UPDATE idempotency_keys SET status_code = 201, body = repeat('b', 620)
WHERE user_id = :user_id AND key = :key AND status_code IS NULL;
COMMIT;
