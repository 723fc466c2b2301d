#!/usr/bin/env bash
#
# Tests of deploy/scripts/rolling.sh: real app processes (tests/apps/go), and a `tidegate` that answers what the test
# says. The fake writes each call to `calls`, runs `hook.VERB` if there is one, and exits with the code in `exit.VERB`
# (0 if there is none). Nothing is listened on but loopback, everything started is ended by its pid.
#
# usage: rolling_test.sh [PART OF A TEST'S NAME]
#
# The last line is `N passed, N failed`; the exit code is 1 if something failed. Needs go, curl.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
rolling=$root/deploy/scripts/rolling.sh
top=$(mktemp -d)
app=$top/app

# shellcheck disable=SC2317 # the trap calls it
clean_up() {
  local file pid
  for file in "$top"/*/started/*; do
    [[ -e $file ]] || continue
    pid=$(<"$file")
    # Only what this test started: the pid may be another's by now.
    grep -qsaF "$top" "/proc/$pid/cmdline" && kill -KILL "$pid" 2>/dev/null
  done
  rm -rf "$top"
}
trap clean_up EXIT

(cd "$root/tests/apps/go" && go build -buildvcs=false -o "$app" .)

# --- support ---------------------------------------------------------------------------------------------------

# Each test runs in a directory of its own, in a subshell that ends at the first thing that is not as expected.
set_up() {
  dir=$top/$1
  mkdir -p "$dir/started" "$dir/state"
  cd "$dir"
  cat >tidegate <<'FAKE'
#!/usr/bin/env bash
cd "$(dirname "$0")"
printf '%s\n' "$*" >>calls
verb=$1
[[ ! -x hook.$verb ]] || "./hook.$verb" "$@"
[[ ! -e exit.$verb ]] || exit "$(<"exit.$verb")"
FAKE
  chmod +x tidegate
  export TIDEGATE=$dir/tidegate
  unset ROLLING_WINDOWS
  pid_file=$dir/state/web.pid
}

# deploy ID [OPTION...]: runs rolling.sh with a real app; its exit code goes to `code`, its words to `words`.
deploy() {
  local id=$1
  shift
  run --id "$id" "$@" web -- "$app" -listen '{addr}' -version '{id}' -pid-file "$dir/started/{id}" -report "$dir/report.{id}"
}

run() {
  code=0
  "$rolling" --pid-file "$pid_file" --start-timeout 10 "$@" >out 2>words || code=$?
}

says() { # VERB CODE: what the fake answers from now on; no code: 0 again
  if [[ -n ${2-} ]]; then printf '%s' "$2" >"exit.$1"; else rm -f "exit.$1"; fi
}

wrong() {
  printf '  %s\n' "$*"
  sed 's/^/  | /' words out calls 2>/dev/null || true
  exit 1
}

# soon COMMAND...: it succeeds within ten seconds.
soon() {
  for _ in {1..200}; do
    ! "$@" || return 0
    sleep 0.05
  done
  wrong "not within 10 s: $*"
}

# hold VERB: the fake comes into this call (`entered`) and stays there until `release`, ten seconds at most.
hold() {
  rm -f entered release
  cat >"hook.$1" <<'END'
#!/bin/sh
touch entered
n=0
while [ ! -e release ] && [ $n -lt 200 ]; do n=$((n + 1)); sleep 0.05; done
END
  chmod +x "hook.$1"
}

is() { [[ $2 == "$3" ]] || wrong "$1: got \"$2\", expected \"$3\""; }
has() { grep -qF -- "$2" "$1" || wrong "$1 does not say \"$2\""; }
has_not() { ! grep -qF -- "$2" "$1" || wrong "$1 says \"$2\""; }
exits() { is "exit code" "$code" "$1"; }
calls() { is calls "$(cut -d' ' -f1,2 calls | paste -sd, -)" "$1"; }

pid_of() { cat "started/$1"; }
is_running() { [[ -e /proc/$1/exe ]] && ! grep -qs '^State:.Z' "/proc/$1/status"; } # PID; a zombie is gone
runs() { is_running "$(pid_of "$1")" || wrong "$1 does not run"; }
gone_already() { ! is_running "$(pid_of "$1")"; }
gone() { ! is_running "$(pid_of "$1")" || wrong "$1 still runs"; }
answers() { # ID: the instance in the pid file is this one and serves
  local line
  line=$(<"$pid_file")
  is "pid file" "${line%% *}" "$(pid_of "$1")"
  is "id in the pid file" "$(awk '{print $4}' "$pid_file")" "$1"
  is "version" "$(curl -sS -o /dev/null -w '%header{x-app-version}' --max-time 5 "http://${line##* }/" 2>&1 || true)" "$1"
}
only_pid_file() { is "state files" "$(cd state && echo *.pid*)" "web.pid"; }

# --- deploys that go well --------------------------------------------------------------------------------------

test_first_deploy_starts_adds_and_records() {
  deploy a
  exits 0
  calls "status web,add web/a"
  runs a
  answers a
  only_pid_file
  is "fields of the pid file" "$(wc -w <"$pid_file")" 5
  is "stdout" "$(<out)" "serving web/a $(awk '{print $5}' "$pid_file") pid=$(pid_of a)"
  is "recorded executable" "$(awk '{print $3}' "$pid_file")" "$app"
}

test_next_deploy_drains_then_stops_then_removes() {
  deploy a
  : >calls
  # At the drain and at the remove the fake notes whether the old one still runs.
  cat >hook.drain <<END
#!/bin/sh
readlink /proc/$(pid_of a)/exe && echo "drain: runs" >>seen
END
  cat >hook.remove <<END
#!/bin/sh
readlink /proc/$(pid_of a)/exe || echo "remove: gone" >>seen
END
  chmod +x hook.*
  deploy b
  exits 0
  calls "status web,add web/b,status web/a,drain web/a,remove web/a"
  is seen "$(paste -sd, seen)" "drain: runs,remove: gone"
  gone a
  answers b
  only_pid_file
  has report.a '"version":"a"'
  has out "retired web/a outcome=clean drain_ms="
}

test_a_forced_drain_ends_the_old_and_exits_7() {
  deploy a
  says drain 7
  deploy b
  exits 7
  gone a
  answers b
  only_pid_file
  has out "retired web/a outcome=forced"
}

test_the_time_to_get_healthy_is_passed_on() {
  deploy a --healthy-timeout 7
  exits 0
  has calls "$(awk '{print "add web/a " $5 " --wait 7s"}' "$pid_file")"
}

test_drain_options_are_passed_on() {
  deploy a
  deploy b --wait 30s --timeout 2m --on-timeout close --idle-timeout 10s --close-after 1s --spread 0s
  exits 0
  has calls "drain web/a --wait 30s --timeout 2m --on-timeout close --idle-timeout 10s --close-after 1s --spread 0s"
}

test_a_unix_socket_can_be_the_address() {
  deploy a --addr "unix:$dir/{id}.sock"
  exits 0
  deploy b --addr "unix:$dir/{id}.sock"
  exits 0
  has calls "add web/b unix:$dir/b.sock"
  is answer "$(curl -sS --unix-socket b.sock http://x/up)" ok
  gone a
}

test_a_given_port_is_used() {
  local port
  deploy a # a free port, for the next one
  port=$(awk -F: '{print $NF}' "$pid_file")
  kill "$(pid_of a)"
  soon gone_already a
  deploy b --port "$port"
  exits 0
  has calls "add web/b 127.0.0.1:$port"
}

test_an_id_is_made_when_none_is_given() {
  for _ in 1 2; do
    run web -- "$app" -listen '{addr}' -pid-file "$dir/started/{id}"
    exits 0
  done
  is "instances" "$(find started -type f | wc -l)" 2
}

test_two_instances_of_a_pool_have_two_pid_files() {
  deploy a1
  pid_file=$dir/state/second.pid
  deploy b1
  deploy b2
  exits 0
  runs a1
  gone b1
  answers b2
  pid_file=$dir/state/web.pid
  answers a1
}

test_windows_are_written_around_each_cut_over() {
  export ROLLING_WINDOWS=$dir/windows
  deploy a
  says drain 6
  deploy b
  is "words in windows" "$(cut -d' ' -f1 windows | paste -sd, -)" "begin,end,begin,end"
  is "times ascend" "$(cut -d' ' -f2 windows | sort -nc 2>&1)" ""
}

test_an_instance_that_runs_can_be_adopted() {
  "$app" -listen 127.0.0.1:0 -version a -pid-file "$dir/started/a" -addr-file "$dir/addr" >/dev/null &
  soon test -e addr
  soon test -e started/a
  run --adopt "$(pid_of a)" --id a --addr "$(<addr)" web
  exits 0
  answers a
  [[ ! -e calls ]] || wrong "adopting called the proxy"
  run --adopt "$(pid_of a)" --id a --addr "$(<addr)" web
  exits 5
  deploy b
  exits 0
  gone a
  answers b
}

# --- the new one fails: the old one serves ---------------------------------------------------------------------

test_a_new_one_that_does_not_get_healthy_is_stopped() {
  deploy a
  : >calls
  says add 5
  deploy b
  exits 5
  calls "status web,add web/b"
  runs a
  gone b
  answers a
  only_pid_file
  has words "error: web/b was not deployed: it did not get healthy"
  has words "hint: the old instance was not touched"
}

test_a_new_one_that_ends_at_its_start_is_never_added() {
  deploy a
  : >calls
  run --id b web -- "$app" -no-such-flag
  exits 5
  calls "status web"
  answers a
  only_pid_file
  has words "error: web/b was not deployed: it ended before it listened on 127.0.0.1:"
  has words "  | " # the end of its log
}

test_a_command_that_does_not_exist_is_never_added() {
  run --id a web -- "$dir/none"
  exits 5
  calls "status web"
  has words "it ended before it listened"
}

test_a_new_one_that_never_listens_is_stopped() {
  run --id a --start-timeout 1 web -- bash -c "echo \$\$ >$dir/started/a; sleep 60 & wait"
  exits 5
  gone a
  calls "status web"
  has words "it does not listen on 127.0.0.1:"
  kill "$(pgrep -f "sleep 60" -g "$(pid_of a)")" 2>/dev/null || true
}

test_a_port_that_is_taken_is_refused() {
  deploy a
  : >calls
  deploy b --port "$(awk -F: '{print $NF}' "$pid_file")"
  exits 5
  calls "status web"
  answers a
  has words "is taken"
  [[ ! -e started/b ]] || wrong "b was started"
}

test_nothing_starts_when_the_proxy_does_not_answer() {
  for answer in 4 5 9; do
    says status $answer
    deploy a
    exits $answer
    [[ ! -e started/a && ! -e $pid_file ]] || wrong "something was started"
  done
}

test_an_add_that_the_proxy_refuses_to_this_user_stops_the_new_one() {
  says add 9
  deploy a
  exits 9
  gone a
  is "state files" "$(cd state && echo *.pid*)" "*.pid*"
}

# --- the old one is not drained: both are kept -----------------------------------------------------------------

test_an_old_one_that_is_not_drained_is_kept() {
  local answer
  for answer in 6 8 5 4 1 9; do
    deploy "a$answer"
    says drain $answer
    deploy "b$answer"
    exits $answer
    runs "a$answer"
    runs "b$answer"
    answers "b$answer"
    has_not calls "remove web/a$answer"
    is "pending" "$(cd state && echo web.pid.*)" "web.pid.old.a$answer"

    # A run that fails the same way changes nothing; one that is answered "drained" ends it.
    run --resume web
    exits $answer
    runs "a$answer"
    says drain
    run --resume web
    exits 0
    gone "a$answer"
    answers "b$answer"
    only_pid_file
  done
}

test_what_is_said_when_the_old_one_is_kept() {
  deploy a
  says drain 6
  deploy b
  is words "$(tail -n 2 words)" "web/a is not drained yet: it was not stopped and goes on draining
hint: both instances are kept; \`rolling.sh --resume web\` finishes the drain"
  says drain 8
  run --resume web
  has words "web/a was made active again: it was not stopped"
}

test_the_next_deploy_ends_what_earlier_ones_left() {
  deploy a
  says drain 8
  deploy b
  says drain
  deploy c
  exits 0
  gone a
  gone b
  answers c
  only_pid_file
}

test_of_several_old_ones_the_worst_outcome_is_the_answer() {
  deploy a
  says drain 8
  deploy b
  says drain
  cat >hook.drain <<'END'
#!/bin/sh
[ "$2" = web/a ] && cp answer.a exit.drain || cp answer.b exit.drain
END
  chmod +x hook.drain
  printf 6 >answer.a
  printf 7 >answer.b
  deploy c
  exits 6
  runs a
  gone b
  answers c
  printf 7 >answer.a
  printf 0 >answer.b
  deploy d
  exits 7
  gone a
  gone c
  only_pid_file
}

test_old_ones_that_never_drain_do_not_pile_up() {
  says drain 6
  for id in a b c d; do
    deploy $id
  done
  exits 6
  : >calls
  deploy e
  exits 6
  calls "status web"
  [[ ! -e started/e ]] || wrong "e was started"
  has words "3 old instances of web still drain, no other is started"
  for id in a b c d; do runs $id; done
}

test_a_failed_remove_is_done_by_the_next_run() {
  deploy a
  says remove 4
  deploy b
  exits 0
  gone a
  says remove
  : >calls
  run --resume web
  exits 0
  calls "status web,status web/a,drain web/a,remove web/a"
  only_pid_file
}

test_resume_with_nothing_pending_changes_nothing() {
  run --resume web
  exits 5
  deploy a
  run --resume web
  exits 0
  answers a
}

# --- what may be signalled -------------------------------------------------------------------------------------

test_a_pid_that_another_process_has_now_is_not_signalled() {
  deploy a
  # As after a restart of the machine: the same pid, another start time.
  awk '{$2 += 1; print}' "$pid_file" >changed && cp changed "$pid_file"
  deploy b
  exits 0
  runs a
  answers b
  only_pid_file # the recorded process is gone, its backend was drained and removed
  has calls "remove web/a"
}

test_a_process_with_another_executable_is_not_signalled() {
  deploy a
  awk '{$3 = "/bin/other"; print}' "$pid_file" >changed && cp changed "$pid_file"
  deploy b
  exits 0
  runs a
  answers b
}

test_an_app_whose_file_was_replaced_is_still_known() {
  cp "$app" "$dir/app"
  run --id a web -- "$dir/app" -listen '{addr}' -version a -pid-file "$dir/started/a"
  exits 0
  cp "$app" "$dir/next" && mv "$dir/next" "$dir/app"
  run --id b web -- "$dir/app" -listen '{addr}' -version b -pid-file "$dir/started/b"
  exits 0
  gone a
  answers b
}

test_an_app_in_a_path_with_spaces_is_known() {
  mkdir "$dir/my apps"
  cp "$app" "$dir/my apps/app"
  for id in a b; do
    run --id $id web -- "$dir/my apps/app" -listen '{addr}' -version $id -pid-file "$dir/started/$id"
    exits 0
  done
  gone a
}

test_a_dead_old_one_is_removed_without_a_signal() {
  deploy a
  kill -KILL "$(pid_of a)"
  deploy b
  exits 0
  has calls "drain web/a"
  has calls "remove web/a"
  answers b
  only_pid_file
}

test_an_old_one_that_the_proxy_does_not_know_is_kept() {
  deploy a
  cat >hook.status <<'END'
#!/bin/sh
[ "$2" = web/a ] && echo 5 >exit.status || rm -f exit.status
END
  chmod +x hook.status
  deploy b
  exits 5
  runs a
  has words "error: the proxy does not know web/a, but its process runs"
  kill -KILL "$(pid_of a)"
  run --resume web
  exits 0
  has_not calls "drain web/a"
  only_pid_file
}

test_sigkill_comes_only_past_the_deadline_and_is_said() {
  run --id a web -- bash -c "trap '' TERM; echo \$\$ >$dir/started/a; $app -listen {addr} -pid-file $dir/started/app & while :; do sleep 0.2; done"
  exits 0
  deploy b --stop-timeout 2
  exits 7
  (($(sed -n 's/.*stop_ms=//p' out) >= 2000)) || wrong "killed too early"
  gone a
  has words "has not ended 2s after SIGTERM: SIGKILL"
  answers b
  only_pid_file
}

test_a_broken_pid_file_is_refused() {
  echo "123" >"$pid_file"
  deploy a
  exits 1
  has words "expected one line \"pid starttime exe id addr\""
}

# --- one at a time, interrupted, wrongly called ----------------------------------------------------------------

test_a_second_deploy_is_refused_and_names_the_first() {
  deploy a
  hold drain
  (deploy b && exits 0) &
  soon test -e entered
  code=0
  "$rolling" --pid-file "$dir/state/other.pid" --id c web -- "$app" >out2 2>words2 || code=$?
  touch release
  wait $! || wrong "the first one failed"
  exits 5
  has words2 "error: another deploy of web is under way: pid "
  gone a
  answers b
}

test_the_app_does_not_hold_the_lock() {
  deploy a
  flock -n state/web.lock true || wrong "something still holds the lock"
}

# ended_at VERB: a deploy is killed (SIGKILL, so that it can do nothing about it) while the proxy is asked that.
ended_at() {
  hold "$1"
  "$rolling" --pid-file "$pid_file" --id "$2" web -- "$app" -listen '{addr}' -version "$2" -pid-file "$dir/started/$2" >out 2>words &
  soon test -e entered
  kill -KILL $!
  wait $! 2>/dev/null || true
  touch release
  sleep 0.2
  rm -f "hook.$1"
}

test_a_run_killed_while_it_added_is_continued() {
  deploy a
  ended_at add b
  answers a
  runs b
  : >calls
  run --resume web
  exits 0
  calls "status web,wait web/b,status web/a,drain web/a,remove web/a"
  gone a
  answers b
  only_pid_file
}

test_a_run_killed_while_it_added_in_vain_leaves_the_old() {
  deploy a
  ended_at add b
  says wait 5
  run --resume web
  exits 0
  gone b
  answers a
  only_pid_file
  has_not calls "drain"
}

test_a_run_killed_while_it_added_waits_for_health() {
  deploy a
  ended_at add b
  says wait 6
  deploy c
  exits 6
  runs a
  runs b
  [[ ! -e started/c ]] || wrong "c was started"
  says wait
  deploy c
  exits 0
  gone a
  gone b
  answers c
  only_pid_file
}

test_a_run_killed_between_its_two_renames_keeps_the_old() {
  deploy a
  ended_at add b
  ln state/web.pid state/web.pid.old.a # what make_current does first
  says wait 5
  run --resume web
  exits 0
  runs a
  answers a
  only_pid_file
}

test_a_run_killed_while_it_drained_is_continued() {
  deploy a
  ended_at drain b
  runs a
  answers b
  run --resume web
  exits 0
  gone a
  only_pid_file
}

test_sigterm_while_the_new_one_starts_stops_only_that() {
  deploy a
  "$rolling" --pid-file "$pid_file" --id b web -- bash -c "echo \$\$ >$dir/started/b; exec sleep 60" >out 2>words &
  soon test -s started/b
  kill -TERM $!
  code=0
  wait $! || code=$?
  exits 143
  gone b
  answers a
  only_pid_file
}

test_sigterm_while_it_drains_stops_nothing() {
  deploy a
  export ROLLING_WINDOWS=$dir/windows
  hold drain
  "$rolling" --pid-file "$pid_file" --id b web -- "$app" -listen '{addr}' -version b -pid-file "$dir/started/b" >out 2>words &
  soon test -e entered
  kill -TERM $!
  sleep 0.1
  touch release
  code=0
  wait $! || code=$?
  exits 143
  runs a
  answers b
  is "words in windows" "$(cut -d' ' -f1 windows | paste -sd, -)" "begin,end"
  run --resume web
  exits 0
  gone a
}

test_wrong_calls_are_usage_errors() {
  local call
  while read -r call; do
    # shellcheck disable=SC2086 # the words of a call
    run $call
    exits 2
    has words "error: "
  done <<'END'
web
-- true
--port 0 web -- true
--port 70000 web -- true
--port http web -- true
--addr nowhere web -- true
--id a/b web -- true
--wait 0 web -- true
--wait 0s web -- true
--no-wait web -- true
--force web -- true
--adopt 1 web
--adopt x --id a --addr 127.0.0.1:1 web
--healthy-timeout 0 web -- true
--healthy-timeout soon web -- true
--stop-timeout soon web -- true
web other -- true
--wait
END
  [[ ! -e calls ]] || wrong "the proxy was called"
}

test_help_goes_to_stdout() {
  run --help
  exits 0
  has out "usage: rolling.sh"
  is words "$(<words)" ""
}

test_the_scripts_are_clean_to_shellcheck() {
  command -v shellcheck >/dev/null || { echo "  (shellcheck is not installed)" && return 0; }
  shellcheck "$root"/deploy/scripts/*.sh "$root"/deploy/*.sh "$root"/tests/scripts/*.sh >words 2>&1 || wrong "shellcheck"
}

# --- the run ---------------------------------------------------------------------------------------------------

passed=0 failed=0
for test in $(declare -F | awk '{print $3}' | grep '^test_'); do
  [[ $test == *"${1-}"* ]] || continue
  if (set_up "$test" && "$test"); then
    passed=$((passed + 1)) && echo "ok    ${test#test_}"
  else
    failed=$((failed + 1)) && echo "FAIL  ${test#test_}"
  fi
done
echo "$passed passed, $failed failed"
((failed == 0 && passed > 0))
