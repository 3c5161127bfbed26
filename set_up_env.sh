#!/usr/bin/env bash
# Sets the studio up and starts it. What it does is told by --help and read from main downwards.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly SESSION=studio
readonly VENV=$(realpath -m "${VENV_DIR:-.venv}")
readonly START_SECONDS=180
readonly STOP_SECONDS=30

show_help() {
    cat <<'END'
Sets the studio up and starts it: web app, executors and a device monitor, each in a pane of one tmux session.
Run again, it installs only what has changed in requirements.txt.

Usage: ./set_up_env.sh [options]

  --executors N    how many executors to start; default: one a GPU, or one on the CPU
  --port P         port of the web app; default: web.port in config.yaml
  --host H         address the web app listens on, 0.0.0.0 for all; default: web.host in config.yaml
  --public         open the studio to everyone who reaches that address; else other machines need sign-in
  --no-tmux        stay in the foreground without a monitor, for servers and containers; ends on SIGTERM or Ctrl-C
  --stop           stop the running tmux session; executors hand their jobs back first
  --restart        let the running tmux session take over a new version: executor after executor, then the web app
  --install-only   install, start nothing
  --dev            install what the tests need too: requirements-dev.txt, tmux, chromium, PostgreSQL, systemd,
                   faketime, iproute2
  --help           show this

Environment: PYTHON names the interpreter (3.11 or newer) for the virtual environment, VENV_DIR its folder
(default: .venv). Every setting of config.yaml can be given as STUDIO_SECTION__NAME=value.
END
}

main() {
    parse_arguments "$@"
    if [[ $action == stop ]]; then
        stop_session
        return
    fi
    if [[ $action == restart ]]; then
        restart_session
        return
    fi
    if [[ $action == start && $in_tmux == yes ]] && session_exists; then
        announce_running_session
        return
    fi
    install_all
    [[ $action == start ]] || return 0
    read_settings
    refuse_taken_port
    ready_database
    share_out_devices
    [[ $in_tmux == no ]] || ensure_tmux
    if [[ $in_tmux == yes ]]; then start_session; else run_in_foreground; fi
}

parse_arguments() {
    action=start in_tmux=yes dev=no public=no executors='' port='' host=''
    while (($#)); do
        case $1 in
            --executors | --port | --host)
                (($# > 1)) || die "$1 needs a value; see ./set_up_env.sh --help."
                declare -g "${1#--}=$2"
                shift
                ;;
            --public) public=yes ;;
            --no-tmux) in_tmux=no ;;
            --stop) action=stop ;;
            --restart) action=restart ;;
            --install-only) action=install ;;
            --dev) dev=yes ;;
            --help | -h)
                show_help
                exit
                ;;
            *) die "There is no option '$1'; see ./set_up_env.sh --help." ;;
        esac
        shift
    done
    [[ $executors =~ ^([1-9][0-9]{0,2})?$ ]] || die "--executors takes a number from 1 to 999, not '$executors'."
    [[ $port =~ ^([1-9][0-9]{0,4})?$ ]] && ((${port:-1} <= 65535)) ||
        die "--port takes a number from 1 to 65535, not '$port'."
}

# --- installing -----------------------------------------------------------------------------------------

install_all() {
    [[ -x $VENV/bin/python ]] || create_venv
    install_requirements requirements.txt
    if [[ $dev == yes ]]; then
        install_requirements requirements-dev.txt
        command -v tmux >/dev/null || apt_install tmux
        command -v chromium >/dev/null || apt_install chromium
        has_postgresql || apt_install postgresql
        command -v systemd-analyze >/dev/null || apt_install systemd
        compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || apt_install faketime
        [[ -x /usr/sbin/tc ]] || apt_install iproute2
    fi
}

create_venv() {
    local python
    python=$(find_python)
    say "Creating the virtual environment in $VENV."
    "$python" -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
    "$python" -m venv "$VENV"
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    die "Python 3.11 or newer is needed, and ${PYTHON:-python3} is $("${PYTHON:-python3}" --version 2>&1 || true):" \
        "install one, or name it with PYTHON=/path/to/python3.11."
}

# The stamp is a copy of the file as it was last installed.
install_requirements() {
    local stamp=$VENV/installed-$1 quiet=()
    ! cmp -s "$1" "$stamp" || return 0
    say "Installing $1; the first time takes some minutes."
    [[ -t 1 ]] || quiet=(--quiet)
    "$VENV/bin/python" -m pip install "${quiet[@]}" --disable-pip-version-check -r "$1"
    cp "$1" "$stamp"
}

has_postgresql() {
    command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

apt_install() {
    local as_root=()
    command -v apt-get >/dev/null || die "'$1' is missing and there is no apt-get to install it: please install it by hand."
    if ((EUID != 0)); then
        command -v sudo >/dev/null || die "'$1' is missing: as root, run apt-get install $1, then try again."
        as_root=(sudo)
        [[ -t 0 ]] || as_root+=(-n)
    fi
    say "Installing Debian's $1."
    "${as_root[@]}" apt-get update -qq </dev/null || true
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$1" </dev/null ||
        die "'$1' is missing and apt-get could not install it: please install it by hand."
}

# --- what to start, where -------------------------------------------------------------------------------

read_settings() {
    [[ -z $host ]] || export STUDIO_WEB__HOST="'$host'" # quoted, for :: alone is YAML
    [[ -z $port ]] || export STUDIO_WEB__PORT=$port
    [[ $public == no ]] || export STUDIO_WEB__PUBLIC=true
    local shown
    shown=$("$VENV/bin/python" - <<'END'
from settings import SettingsError, load_settings
from web.permissions import Undecided, decide
from web.sign_in import SignInIncomplete, is_set_up

try:
    settings = load_settings()
    decide(settings.web, settings.web.host, can_sign_in=is_set_up())
except (SettingsError, SignInIncomplete, Undecided) as error:
    raise SystemExit(str(error)) from None
print(settings.web.host, settings.web.port, settings.executor.device)
END
    )
    read -r host port device <<<"$shown"
    address=http://$(reachable_host):$port
}

reachable_host() {
    case $host in
        0.0.0.0 | '') echo localhost ;;
        *:*) echo "[${host/#::/::1}]" ;;
        *) echo "$host" ;;
    esac
}

ready_database() {
    "$VENV/bin/python" - <<'END'
from db import DatabaseError, migrate
from settings import load_settings

try:
    migrate(load_settings().database_url)
except DatabaseError as error:
    raise SystemExit(str(error)) from None
END
}

refuse_taken_port() {
    "$VENV/bin/python" - "$host" "$port" <<'END'
import errno
import socket
import sys

host, port = sys.argv[1], int(sys.argv[2])
try:
    family = socket.getaddrinfo(host, port)[0][0]
    socket.create_server((host, port), family=family).close()
except OSError as error:
    if error.errno == errno.EADDRINUSE:
        sys.exit(f"Port {port} is taken by another program: stop that one, or choose another with --port.")
    sys.exit(f"The web app cannot listen on {host}, port {port}: {error.strerror}.")
END
}

share_out_devices() {
    local cores gpus
    cores=$(usable_cores)
    gpus=$(usable_gpus)
    executors=${executors:-$((gpus > 0 ? gpus : 1))}
    if ((gpus == 0 && executors > cores)); then
        die "$executors executors would fight over $cores cores: ask for at most $cores with --executors."
    fi
    threads=$((cores > executors ? cores / executors : 1))
    devices=()
    local i
    for ((i = 0; i < executors; i++)); do
        if ((gpus > 0)); then devices+=("cuda:$((i % gpus))"); else devices+=("${device/auto/cpu}"); fi
    done
}

# A container's quota counts: a thread beyond it only makes the others wait.
usable_cores() {
    local cores quota=max period=1
    cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
    [[ ! -r /sys/fs/cgroup/cpu.max ]] || read -r quota period </sys/fs/cgroup/cpu.max
    if [[ $quota != max ]] && ((quota / period < cores)); then cores=$((quota / period)); fi
    echo $((cores > 0 ? cores : 1))
}

usable_gpus() {
    if [[ $device == auto ]] && command -v nvidia-smi >/dev/null; then
        "$VENV/bin/python" -c 'import torch; print(torch.cuda.device_count())'
    else
        echo 0
    fi
}

web_command() {
    command_line=("$VENV/bin/python" webapp.py)
}

executor_command() {
    command_line=(env "STUDIO_EXECUTOR__DEVICE=${devices[$1]}" "STUDIO_EXECUTOR__THREADS=$threads"
        "OMP_NUM_THREADS=$threads" "PATH=$VENV/bin:$PATH" ./run_executor.sh)
}

monitor_command() {
    if [[ ${devices[0]} == cuda* ]]; then
        command_line=(nvidia-smi --loop=2)
    else
        command_line=("$VENV/bin/python" monitor.py)
    fi
}

# --- in a tmux session ----------------------------------------------------------------------------------

ensure_tmux() {
    command -v tmux >/dev/null || (apt_install tmux) || true
    if ! command -v tmux >/dev/null; then
        say "Without tmux the studio stays in the foreground, as with --no-tmux."
        in_tmux=no
    fi
}

# A server of the studio's own: started from this shell, it hands all of the environment on to the panes.
studio_tmux() {
    tmux -L "$SESSION" "$@"
}

session_exists() {
    studio_tmux has-session -t "=$SESSION" 2>/dev/null
}

start_session() {
    web_command
    studio_tmux new-session -d -s "$SESSION" -x 200 -y 60 -c "$PWD" "${command_line[@]}" \; \
        set-option -t "$SESSION" @address "$address" \; \
        set-option -w -t "$SESSION" remain-on-exit on \; \
        set-option -w -t "$SESSION" pane-border-status top \; \
        set-option -w -t "$SESSION" pane-border-format ' #{pane_title} ' \; \
        select-pane -T "web app"
    local i
    for ((i = 0; i < executors; i++)); do
        executor_command "$i"
        add_pane "executor $((i + 1)) on ${devices[$i]}"
    done
    monitor_command
    add_pane "devices"
    wait_for_page web_pane_lives
    announce
    print_row watch "tmux -L $SESSION attach"
    print_row stop "./set_up_env.sh --stop"
}

add_pane() {
    studio_tmux split-window -t "$SESSION" -c "$PWD" "${command_line[@]}" \; \
        select-pane -T "$1" \; \
        select-layout tiled >/dev/null
}

web_pane_lives() {
    [[ $(studio_tmux list-panes -t "$SESSION" -F '#{pane_dead}' | head -n 1) == 0 ]]
}

announce_running_session() {
    address=$(studio_tmux show-options -v -t "$SESSION" @address)
    if page_answers; then
        say "The studio is already running: $address"
    else
        say "A session is already running, but its page at $address does not answer: look into it, or stop it and start again."
    fi
    print_row watch "tmux -L $SESSION attach"
    print_row stop "./set_up_env.sh --stop"
}

stop_session() {
    session_exists || die "No session of the studio is running."
    local processes
    mapfile -t processes < <(studio_tmux list-panes -s -t "$SESSION" -F '#{?pane_dead,,#{pane_pid}}' | grep .)
    end_processes "${processes[@]}"
    studio_tmux kill-session -t "=$SESSION"
    say "The studio is closed."
}

restart_session() {
    session_exists || die "No session of the studio is running."
    install_all
    address=$(studio_tmux show-options -v -t "$SESSION" @address)
    local panes pane
    mapfile -t panes < <(studio_tmux list-panes -s -t "$SESSION" -F '#{pane_id}')
    for pane in "${panes[@]:1}" "${panes[0]}"; do restart_pane "$pane"; done
    wait_for_page web_pane_lives
    say "The studio is open again: $address"
}

# What a pane runs is asked to end, and then started as it was at first.
restart_pane() {
    local process
    process=$(studio_tmux display-message -p -t "$1" '#{?pane_dead,,#{pane_pid}}')
    [[ -z $process ]] || (end_processes "$process")
    studio_tmux respawn-pane -k -t "$1"
}

# --- in the foreground ----------------------------------------------------------------------------------

run_in_foreground() {
    local i
    set -m # every child leads a process group: Ctrl-C reaches this script alone, which tells them
    children=()
    trap 'end_children; exit 0' TERM INT HUP
    web_command
    "${command_line[@]}" &
    children+=($!)
    for ((i = 0; i < executors; i++)); do
        executor_command "$i"
        "${command_line[@]}" &
        children+=($!)
    done
    wait_for_page web_child_lives
    announce
    print_row stop "Ctrl-C, or kill $$"
    wait -n "${children[@]}" || true
    end_children
    die "The web app or an executor ended by itself, so the studio is closed; its last words are above."
}

end_children() {
    disown -a # bash need not report how each of them ended
    end_processes "${children[@]}"
}

web_child_lives() {
    any_alive "${children[0]}"
}

# --- shared by both -------------------------------------------------------------------------------------

# wait_for_page ALIVE: until the page answers; ALIVE is a command that fails once the web app has ended.
wait_for_page() {
    local deadline=$((SECONDS + START_SECONDS))
    until page_answers; do
        "$1" || break
        ((SECONDS < deadline)) || break
        sleep 0.2
    done
    page_answers || give_up
}

page_answers() {
    "$VENV/bin/python" - "$address/_stcore/health" <<'END' 2>/dev/null
import sys
from urllib.request import urlopen

urlopen(sys.argv[1], timeout=5)
END
}

give_up() {
    if [[ $in_tmux == yes ]]; then
        studio_tmux capture-pane -p -t "$SESSION:.0" | grep . | tail -n 20 >&2 || true
        stop_session
    else
        end_children
    fi
    die "The web app did not start; its last words are above."
}

# end_processes PID...: asks them to end, then kills what is left after STOP_SECONDS.
end_processes() {
    trap '' TERM INT HUP
    local deadline=$((SECONDS + STOP_SECONDS))
    kill -TERM "$@" 2>/dev/null || true
    while any_alive "$@" && ((SECONDS < deadline)); do sleep 0.1; done
    local process
    for process in "$@"; do kill -KILL -- "-$process" 2>/dev/null || true; done
}

# any_alive PID...: a zombie is not; tmux sometimes overlooks that a process has ended.
any_alive() {
    local folders=("${@/#//proc/}")
    grep -qs $'^State:\t[^Z]' "${folders[@]/%//status}" </dev/null
}

announce() {
    say "The studio is open: $address"
    [[ $host != 0.0.0.0 ]] || print_row also "port $port on every address of this machine"
    print_row executors "$executors on $(sort -u <(printf '%s\n' "${devices[@]}") | paste -sd ' '), threads of each: $threads"
}

print_row() {
    printf '  %-10s %s\n' "$1" "$2"
}

say() {
    echo "$*"
}

die() {
    echo "$*" >&2
    exit 1
}

main "$@"
