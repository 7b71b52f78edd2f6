#!/usr/bin/env bash
# Makes the secrets that compose.yaml mounts, in deploy/secrets/. What is there already stays as it is.
set -euo pipefail
umask 077
cd "$(dirname "$0")"
mkdir -p secrets
cd secrets

put() {  # NAME, with the content on standard input
  if [ -e "$1" ]; then cat >/dev/null; return; fi
  cat > "$1"
  chmod 444 "$1"
  echo "made deploy/secrets/$1"
}
random() { python3 -c 'import secrets; print(secrets.token_urlsafe(32), end="")'; }

random | put postgres_password
random | put refdesk_index_api_key
random | put refdesk_vllm_api_key
valkey=$(random)
[ -e valkey.conf ] || put valkey.conf <<EOF
requirepass $valkey
appendonly yes
maxmemory-policy noeviction
dir /data
EOF
printf 'redis://:%s@valkey:6379/0' "$(awk '/^requirepass/{print $2}' valkey.conf)" | put refdesk_broker_url
printf 'postgresql+psycopg://refdesk:%s@postgres/refdesk' "$(cat postgres_password)" | put refdesk_catalogue_url
put qdrant.yaml <<EOF
service:
  api_key: $(cat refdesk_index_api_key)
storage:
  storage_path: /qdrant/storage
telemetry_disabled: true
EOF
# The folder is the operator's alone; the files are readable because containers read them as other users.
chmod 700 .
