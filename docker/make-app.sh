#!/usr/bin/env bash
# Run once by the image of PostgreSQL: makes the database `app` and the role that agents are mapped to.
set -euo pipefail
psql --username postgres --set ON_ERROR_STOP=1 --set password="$(cat /run/secrets/app_password)" <<'SQL'
CREATE ROLE app LOGIN PASSWORD :'password';
CREATE DATABASE app OWNER app;
SQL
