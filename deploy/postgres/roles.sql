-- The gateway's login, for docker-compose.yml: made once, its password read from a file; what it may do is granted by
-- `gateway migrate --gateway-role payout_gateway`. A script of psql's, run as the owner:
--   psql -v ON_ERROR_STOP=1 -v password_file=/world/gateway_password -f roles.sql
\set password `cat :'password_file'`
SELECT format('CREATE ROLE payout_gateway LOGIN PASSWORD %L', :'password')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'payout_gateway') \gexec
