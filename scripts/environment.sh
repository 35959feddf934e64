# Sourced by run and test: makes .venv in the checkout once and keeps it as pyproject.toml and constraints.txt state.
#
#   SEGFW_PYTHON       the interpreter to build on (default python3)
#   SEGFW_TORCH_INDEX  package index that PyTorch is taken from, such as its own index of CPU builds, which spares
#                      machines without a GPU the CUDA packages (default: pip's)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv

say() { echo "segfw: $*" >&2; }

require_python() {
  local found
  found=$("$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) \
    || { say "there is no Python at '$1'; set SEGFW_PYTHON to Python 3.11, 3.12 or 3.13"; exit 1; }
  case $found in
    3.11.* | 3.12.* | 3.13.*) ;;
    *) say "Python 3.11, 3.12 or 3.13 is needed, '$1' is $found; set SEGFW_PYTHON to another"; exit 1 ;;
  esac
}

# What an environment was made from; anything else means that it must be brought up to date.
fingerprint() {
  { cat "$root/pyproject.toml" "$root/constraints.txt"; "$1" --version; echo "${SEGFW_TORCH_INDEX:-}"; } \
    | "$1" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}

pip_install() {
  if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$root/constraints.txt" "$@" \
    >>"$venv/install.log" 2>&1; then
    say "the installation failed; the end of $venv/install.log:"
    tail -n 20 "$venv/install.log" >&2
    exit 1
  fi
}

# prepare_environment run|dev: dev brings the tools of scripts/test, and serves run as well.
prepare_environment() {
  local kind=$1 python=${SEGFW_PYTHON:-python3} wanted
  require_python "$python"
  wanted=$(fingerprint "$python")
  if [ "$(cat "$venv/made-for-$kind" 2>/dev/null)" = "$wanted" ]; then return; fi
  if [ "$("$venv/bin/python" --version 2>/dev/null)" != "$("$python" --version)" ]; then
    say "making an environment in $venv ..."
    rm -rf "$venv"
    "$python" -m venv "$venv"
  fi
  rm -f "$venv"/made-for-*
  : >"$venv/install.log"
  say "installing packages (some minutes the first time; log: $venv/install.log) ..."
  if [ -n "${SEGFW_TORCH_INDEX:-}" ]; then pip_install --index-url "$SEGFW_TORCH_INDEX" torch; fi
  if [ "$kind" = dev ]; then
    pip_install -e "$root[dev]"
    echo "$wanted" >"$venv/made-for-dev"
  else
    pip_install -e "$root"
  fi
  echo "$wanted" >"$venv/made-for-run"
}
