/*
 * A forked interpreter against an executed one: each program below is run both ways in boxes of the same warden, and
 * end, exit code, signal, and every byte of both outputs must be the same.
 *
 * Needs root and a CPython 3.8 or later in /usr/bin; without, the tests are skipped by name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ordinary.h"
#include "warden_fixture.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One source, two programs (plugins/warden/room.mk). */
#ifndef ZYGOTE_MODE
#define ZYGOTE_MODE "native"
#define ZYGOTE_ORDINARY false
#endif

#define MIB (INT64_C(1) << 20)
#define CREDIT_CPU_US 8000
#define CREDIT_MEMORY (3 * MIB)

static struct fixture fx;
static char python[PATH_MAX];
static bool warmed;
static char warm_trouble[300];

static const char *const environment[] = {"PATH=/usr/bin:/bin", "HOME=/tmp", "LANG=C.UTF-8", "TMPDIR=/tmp", "PYTHONHASHSEED=0"};
#define N_ENV (sizeof environment / sizeof *environment)

struct ran {
    struct assay_buf out, err;
    struct assay_box_outcome o;
};

static void spec_for(struct assay_box_spec *spec, struct assay_box_file *file, struct assay_str argv[4],
                     struct assay_str env[N_ENV], const char *source)
{
    argv[0] = assay_str(python);
    argv[1] = ASSAY_STR("-s");
    argv[2] = ASSAY_STR("-B");
    argv[3] = ASSAY_STR("main.py");
    for (size_t i = 0; i < N_ENV; i++)
        env[i] = assay_str(environment[i]);
    *file = (struct assay_box_file){.path = ASSAY_STR("main.py"), .bytes = assay_str(source), .mode = 0644};
    *spec = (struct assay_box_spec){.argv = argv,
                                    .n_argv = 4,
                                    .env = env,
                                    .n_env = N_ENV,
                                    .files = file,
                                    .n_files = 1,
                                    .limits = {.cpu_ms = 5000,
                                               .wall_ms = 10000,
                                               .memory_bytes = 128 * MIB,
                                               .stdout_bytes = MIB,
                                               .stderr_bytes = 65536}};
}

static void run_spec(struct ran *r, const struct assay_box_spec *spec)
{
    struct assay_err err;
    assay_buf_init(&r->out, 4 * MIB);
    assay_buf_init(&r->err, 4 * MIB);
    if (assay_box_client_run_sync(fx.client, spec, &r->out, &r->err, &r->o, &err) < 0)
        fail_msg("run: %s", err.msg);
    assay_buf_putc(&r->out, 0);
    assay_buf_putc(&r->err, 0);
}

static void ran_free(struct ran *r)
{
    assay_buf_free(&r->out);
    assay_buf_free(&r->err);
}

struct sample {
    const char *name, *source, *input;
    int64_t memory, cpu_ms, processes;
    uint32_t flags;
    bool pinned; /* to the first processor */
    bool varies; /* outputs differ from run to run; only the end is compared */
};

static void run_sample(struct ran *r, const struct sample *p, bool warm)
{
    struct assay_box_spec spec;
    struct assay_box_file file;
    struct assay_str argv[4], env[N_ENV];
    spec_for(&spec, &file, argv, env, p->source);
    spec.stdin_bytes = assay_str(p->input ? p->input : "");
    if (p->memory)
        spec.limits.memory_bytes = p->memory;
    if (p->cpu_ms)
        spec.limits.cpu_ms = p->cpu_ms;
    spec.limits.processes = p->processes;
    spec.cpus[0] = p->pinned ? 1 : 0;
    spec.flags = p->flags;
    if (warm) {
        spec.flags |= ASSAY_BOX_WARM;
        spec.warm_cpu_us = CREDIT_CPU_US;
        spec.warm_memory_bytes = CREDIT_MEMORY;
    }
    run_spec(r, &spec);
}

static void on_warmed(void *arg, struct assay_str message)
{
    (void)arg;
    (void)snprintf(warm_trouble, sizeof warm_trouble, "%.*s", ASSAY_FMT(message));
    warmed = true;
}

static void warm_up(void)
{
    static const struct assay_box_events events = {.warmed = on_warmed};
    struct assay_err err;
    struct assay_box_spec spec;
    struct assay_box_file file;
    struct assay_str argv[4], env[N_ENV];
    spec_for(&spec, &file, argv, env, "");
    warmed = false;
    assay_box_client_events(fx.client, &events, NULL);
    if (assay_box_client_warm(fx.client, argv, 4, env, N_ENV, &err) < 0)
        fail_msg("warm: %s", err.msg);
    while (!warmed) {
        struct pollfd p = {.fd = assay_box_client_fd(fx.client), .events = POLLIN};
        if (poll(&p, 1, 20000) < 1 || assay_box_client_on_ready(fx.client, &err) < 0)
            fail_msg("warm: no answer");
    }
    if (warm_trouble[0])
        fail_msg("warm: %s", warm_trouble);
}

/* ---- the programs ---- */

static const struct sample samples[] = {
    {.name = "hello", .source = "print('hello')\n"},
    {.name = "empty", .source = ""},
    {.name = "argv", .source = "import sys; print(sys.argv, sys.orig_argv if hasattr(sys, 'orig_argv') else 0)\n"},
    {.name = "flags", .source = "import sys; print(sys.flags, sys.dont_write_bytecode, sys.warnoptions, sys._xoptions)\n"},
    {.name = "main_module", .source = "import sys; m = sys.modules['__main__']; print(__name__, __file__, m is not None, __spec__, __builtins__, "
                                      "sorted(k for k in m.__dict__))\nprint(__loader__.__class__, __loader__.path, __doc__, __package__)\n"},
    {.name = "path", .source = "import sys; print(sys.path, sys.prefix, sys.exec_prefix, sys.executable, sys.platform, sys.version)\n"},
    {.name = "modules", .source = "import sys; print(sorted(sys.modules)); print(sorted(sys.path_importer_cache))\n"},
    {.name = "hooks", .source = "import sys; print([type(x) for x in sys.meta_path], [x.__qualname__ for x in sys.path_hooks], sys.excepthook, sys.displayhook, sys.getrecursionlimit(), "
                                "sys.getswitchinterval())\n"},
    {.name = "traceback", .source = "def f(n):\n    if n == 0:\n        return 1 / 0\n    return f(n - 1)\n\nf(3)\n"},
    {.name = "chained", .source = "try:\n    {}['x']\nexcept KeyError as e:\n    raise ValueError('no') from e\n"},
    {.name = "syntax_error", .source = "print('never')\ndef f(:\n    pass\n"},
    {.name = "indentation", .source = "if 1:\npass\n"},
    {.name = "name_error", .source = "import sys\nsys.stdout.write('half')\nprnt(1)\n"},
    {.name = "exit_3", .source = "import sys; sys.exit(3)\n"},
    {.name = "exit_none", .source = "import sys; sys.exit()\n"},
    {.name = "exit_text", .source = "import sys; sys.exit('a text')\n"},
    {.name = "exit_tuple", .source = "raise SystemExit((1, 2))\n"},
    {.name = "exit_large", .source = "raise SystemExit(4711)\n"},
    {.name = "exit_negative", .source = "raise SystemExit(-1)\n"},
    {.name = "exit_builtin", .source = "exit(5)\n"},
    {.name = "os_exit", .source = "import os; print('lost', end=''); os._exit(7)\n"},
    {.name = "abort", .source = "import os; print('lost', end=''); os.abort()\n"},
    {.name = "suicide", .source = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"},
    {.name = "raise_signal", .source = "import signal; signal.raise_signal(signal.SIGTERM)\n"},
    {.name = "segfault", .source = "import ctypes; ctypes.string_at(0)\n"},
    {.name = "interrupt", .source = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(5)\n"},
    {.name = "handler", .source = "import signal, os\nsignal.signal(signal.SIGUSR1, lambda s, f: print('got', s))\n"
                                  "os.kill(os.getpid(), signal.SIGUSR1)\nprint(signal.getsignal(signal.SIGPIPE), signal.getsignal(signal.SIGINT), "
                                  "signal.getsignal(signal.SIGTERM), signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"},
    {.name = "alarm", .source = "import signal, time\nsignal.alarm(1)\ntime.sleep(8)\n"},
    {.name = "dispositions", .source = "for l in open('/proc/self/status'):\n    if l.startswith(('Sig', 'Shd', 'Cap', 'NoNew', 'Seccomp:', 'Uid', 'Gid', "
                                       "'Groups', 'Threads', 'Umask', 'NSpid', 'Pid', 'PPid', 'Name', 'TracerPid')) and not "
                                       "l.startswith('SigQ'):\n        print(l, end='')\n"},
    {.name = "atexit", .source = "import atexit\natexit.register(print, 'first')\natexit.register(print, 'second')\nprint('main')\n"},
    {.name = "finalisers", .source = "class A:\n    def __init__(s, n): s.n = n\n    def __del__(s): print('del', s.n)\na = A(1)\nb = A(2); b.b = b\n"
                                     "import os; os.kept = A(3)\nimport builtins; builtins.kept = A(4)\ndel a\nprint('end')\n"},
    {.name = "weakref_finalize", .source = "import weakref\nclass A: pass\na = A()\nweakref.finalize(a, print, 'gone')\nprint('end')\n"},
    {.name = "generator_left_open", .source = "def g():\n    try:\n        yield 1\n    finally:\n        print('closed')\nx = g(); next(x)\n"},
    {.name = "unflushed_file", .source = "out = open(1, 'w', closefd=False)\nout.write('from a file object')\n"},
    {.name = "replaced_stdout", .source = "import sys, io\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer, write_through=False)\nprint('wrapped')\n"},
    {.name = "closed_stdout", .source = "import sys\nprint('x')\nsys.stdout.close()\n"},
    {.name = "buffering", .source = "import sys, os\nprint('a', end='')\nos.write(1, b'b')\nprint('c', file=sys.stderr)\nprint(sys.stdout.buffer.raw, "
                                    "sys.stdout.line_buffering, sys.stdout.write_through, sys.stderr.line_buffering, sys.stdin.buffer)\n"},
    {.name = "order_of_streams", .flags = ASSAY_BOX_STDERR_TO_STDOUT,
     .source = "import sys\nprint('1')\nprint('2', file=sys.stderr)\nprint('3')\n1/0\n"},
    {.name = "broken_pipe", .source = "import os, sys\nr, w = os.pipe(); os.close(r)\nos.dup2(w, 1)\nprint('x' * 100)\nsys.stdout.flush()\n"},
    {.name = "flush_fails_at_exit", .source = "import os\nr, w = os.pipe(); os.close(r)\nos.dup2(w, 1)\nprint('x')\n"},
    {.name = "threads", .source = "import threading\nl = []\nt = [threading.Thread(target=l.append, args=(i,)) for i in range(8)]\n"
                                  "[x.start() for x in t]; [x.join() for x in t]\nprint(sorted(l), threading.main_thread() is threading.current_thread(), "
                                  "threading.active_count(), threading.get_native_id())\n"},
    {.name = "thread_outlives_main", .source = "import threading, time\ndef f():\n    time.sleep(0.1)\n    print('late')\nthreading.Thread(target=f).start()\nprint('end')\n"},
    {.name = "daemon_thread", .source = "import threading, time\nthreading.Thread(target=time.sleep, args=(9,), daemon=True).start()\nprint('end')\n"},
    {.name = "thread_stack", .source = "import threading, ctypes\nl = []\ndef f():\n    c = ctypes.CDLL(None)\n    a = ctypes.create_string_buffer(256); n = ctypes.c_size_t()\n"
                                       "    c.pthread_self.restype = ctypes.c_void_p\n    c.pthread_getattr_np(ctypes.c_void_p(c.pthread_self()), a)\n"
                                       "    c.pthread_attr_getstacksize(a, ctypes.byref(n)); print(n.value)\nt = threading.Thread(target=f); t.start(); t.join()\n"},
    {.name = "descriptors", .source = "import os\nprint(sorted(os.listdir('/proc/self/fd')))\nfor i in range(3):\n    s = os.fstat(i); print(oct(s.st_mode), os.isatty(i), os.get_inheritable(i))\n"
                                      "print(os.open('/dev/null', 0))\n"},
    {.name = "fd_flags", .source = "import fcntl\nprint([(fcntl.fcntl(i, fcntl.F_GETFL), fcntl.fcntl(i, fcntl.F_GETFD)) for i in range(3)])\n"},
    {.name = "environ", .source = "import os\nprint(dict(os.environ), os.environb == {k.encode(): v.encode() for k, v in os.environ.items()})\n"
                                  "print(open('/proc/self/environ').read().rstrip('\\0').split('\\0'))\n"},
    {.name = "cmdline", .source = "import os\nprint(open('/proc/self/cmdline').read(), open('/proc/self/comm').read(), os.readlink('/proc/self/exe'))\n"},
    {.name = "ids", .source = "import os\nprint(os.getpid(), os.getppid(), os.getpgrp(), os.getsid(0), os.getuid() != 0, os.getgroups(), os.getcwd(), os.umask(0))\n"},
    {.name = "next_pid", .source = "import os\np = os.fork()\nif p == 0:\n    os._exit(0)\nprint(p, os.waitpid(p, 0))\n"},
    {.name = "oom_score", .source = "print(open('/proc/self/oom_score_adj').read())\n"},
    {.name = "limits", .source = "import resource\nprint({n: resource.getrlimit(getattr(resource, n)) for n in dir(resource) if n.startswith('RLIMIT_')})\n"},
    {.name = "usage_of_children", .source = "import resource\nu = resource.getrusage(resource.RUSAGE_CHILDREN)\nprint(u.ru_utime, u.ru_maxrss)\n"},
    {.name = "affinity", .source = "import os\nprint(os.sched_getaffinity(0), os.sched_getscheduler(0), os.nice(0))\n"},
    {.name = "sched_getcpu", .pinned = true, .source = "import ctypes, os\nc = ctypes.CDLL(None)\nprint(os.sched_getaffinity(0), c.sched_getcpu())\n"},
    {.name = "recursion_error", .source = "def f(): f()\nf()\n"},
    {.name = "deep_recursion", .source = "import sys\nsys.setrecursionlimit(100000)\ndef f(n): return 0 if n == 0 else 1 + max(f(n - 1), 0)\nprint(f(20000))\n"},
    {.name = "deep_c_stack", .source = "import sys\nsys.setrecursionlimit(1000000)\nx = []\nfor i in range(30000): x = [x]\nprint(len(repr(x)))\n"},
    {.name = "stack_overflow", .source = "import sys\nsys.setrecursionlimit(10**9)\nx = []\nfor i in range(3000000): x = [x]\nprint(len(repr(x)))\n", .cpu_ms = 10000},
    {.name = "os_fork", .source = "import os, sys\nprint('before', flush=True)\nif os.fork() == 0:\n    print('child'); sys.exit(4)\nprint('parent', os.wait()[1])\n"},
    {.name = "multiprocessing", .source = "import multiprocessing as m\ndef f(x): return x * x\nif __name__ == '__main__':\n    with m.Pool(3) as p:\n        print(p.map(f, range(10)))\n"},
    {.name = "spawn", .source = "import multiprocessing as m\ndef f(q): q.put(__name__)\nif __name__ == '__main__':\n    c = m.get_context('spawn'); q = c.Queue()\n"
                                "    p = c.Process(target=f, args=(q,)); p.start(); print(q.get()); p.join(); print(p.exitcode)\n"},
    {.name = "subprocess", .source = "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'import sys; print(sys.flags, sys.stdin.read())'], "
                                     "input='in', capture_output=True, text=True))\n"},
    {.name = "input_lines", .input = "1 2\n3 4\n\nlast", .source = "import sys\nprint(input())\nfor l in sys.stdin:\n    print(repr(l))\n"},
    {.name = "input_bytes", .input = "\xff\xfe raw", .source = "import sys\nprint(sys.stdin.buffer.read())\n"},
    {.name = "input_not_utf8", .input = "\xff\xfe raw", .source = "print(ascii(input()))\n"},
    {.name = "input_at_end", .source = "input()\n"},
    {.name = "input_readline_open0", .input = "a\nb\nc\n", .source = "import os\nprint(open(0).readline(), os.read(0, 10))\n"},
    {.name = "encoding", .source = "import sys, locale\nprint('äöü €', sys.stdout.encoding, sys.stdout.errors, sys.stderr.errors, sys.stdin.encoding, sys.stdin.errors, "
                                   "sys.getfilesystemencoding(), sys.getdefaultencoding(), locale.getlocale(), locale.setlocale(locale.LC_ALL))\n"},
    {.name = "surrogate_to_stdout", .source = "print('\\udc80'); print('\\ud800')\n"},
    {.name = "hash_order", .source = "print({'a', 'b', 'c', 'some', 'more'}, hash('x'), hash(b'y'), {object} != set())\n"},
    {.name = "import_beside", .source = "import os\nopen('beside.py', 'w').write('x = 1; print(__name__, __file__)')\nimport beside\nprint(os.listdir('.'))\n"},
    {.name = "stdlib", .source = "import json, re, collections, decimal, datetime, itertools, heapq, random, math, zlib, sqlite3, ssl, asyncio\n"
                                 "random.seed(1); print(random.random(), json.dumps({'a': [1]}), re.findall('b+', 'abbb'))\n"},
    {.name = "asyncio", .source = "import asyncio\nasync def f():\n    await asyncio.sleep(0.01); return 5\nprint(asyncio.run(f()))\n"},
    {.name = "gc", .source = "import gc\nprint(gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), gc.get_debug(), gc.callbacks, gc.garbage)\n"},
    {.name = "gc_cycles", .source = "import gc\nclass A: pass\ngc.collect()\nfor i in range(100):\n    a = A(); a.a = a\ndel a\nprint(gc.collect())\n"},
    {.name = "warnings", .source = "import warnings\nwarnings.warn('take care')\nopen('/dev/null')\n"},
    {.name = "tracing", .source = "import sys\nprint(sys.gettrace(), sys.getprofile(), sys.is_finalizing(), sys.getallocatedblocks() > 0)\n"},
    {.name = "network", .source = "import socket\ntry:\n    socket.socket().connect(('127.0.0.1', 80))\nexcept OSError as e:\n    print(e)\n"},
    {.name = "read_only_root", .source = "for p in ('/usr/x', '/etc/x', '/x', '/box/x', '/tmp/x', '/dev/shm/x'):\n    try:\n        open(p, 'w'); print(p, 'written')\n"
                                         "    except OSError as e:\n        print(e)\n"},
    {.name = "mounts", .source = "import os\nprint(sorted(os.listdir('/')), sorted(os.listdir('/dev')), os.listdir('/dev/shm'), os.listdir('/tmp'))\n"
                                 "print(sorted(l.split()[4] for l in open('/proc/self/mountinfo')))\n"},
    {.name = "processes_seen", .source = "import os\nprint(sorted(p for p in os.listdir('/proc') if p.isdigit()))\n"},
    {.name = "kill_everything", .source = "import os, signal\ntry:\n    os.kill(-1, 9)\nexcept OSError as e:\n    print(e)\ntry:\n    os.kill(1, 9)\nexcept OSError as e:\n    print(e)\n"
                                          "try:\n    os.kill(300, 9)\nexcept OSError as e:\n    print(e)\n"},
    {.name = "no_rights", .source = "import ctypes, os\nc = ctypes.CDLL(None, use_errno=True)\nfor f, a in (('unshare', (0x20000,)), ('setns', (0, 0)), ('chroot', (b'/',)), "
                                    "('mount', (b'x', b'/tmp', b'tmpfs', 0, None)), ('ptrace', (16, 1, 0, 0)), ('setuid', (0,)), ('sethostname', (b'x', 1))):\n"
                                    "    print(f, getattr(c, f)(*a), os.strerror(ctypes.get_errno()))\n"},
    {.name = "capabilities", .source = "import ctypes\nc = ctypes.CDLL(None)\nprint([c.prctl(23, i, 0, 0, 0) for i in range(8)], c.prctl(39, 0, 0, 0, 0), c.prctl(27, 0, 0, 0, 0), c.prctl(3, 0, 0, 0, 0))\n"},
    {.name = "timer_slack", .source = "import ctypes\nc = ctypes.CDLL(None)\nprint(c.prctl(30, 0, 0, 0, 0), c.prctl(2, ctypes.byref(ctypes.c_int()), 0, 0, 0))\nr = ctypes.c_int(); c.prctl(2, ctypes.byref(r), 0, 0, 0); print(r.value)\n"},
    {.name = "processes_limit", .processes = 4, .source = "import threading, time\nn = 0\ntry:\n    for i in range(9):\n        threading.Thread(target=time.sleep, args=(9,), daemon=True).start(); n += 1\n"
                                                          "except RuntimeError as e:\n    print(e)\nprint(n)\n"},
    {.name = "memory_error", .memory = 80 * MIB, .source = "x = []\nwhile True:\n    x.append(bytearray(1 << 20))\n"},
    {.name = "cpu_limit", .cpu_ms = 300, .source = "while True:\n    pass\n"},
    {.name = "much_output", .source = "print('x' * (2 << 20))\n"},
    {.name = "strict_output", .flags = ASSAY_BOX_STRICT_OUTPUT, .varies = true, .source = "while True:\n    print('x' * 1000)\n"},
    {.name = "orphans", .source = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(100)\n    os._exit(0)\nos.wait()\nprint('left')\n"},
};

static void same(const struct sample *p)
{
    struct ran cold, warm;
    run_sample(&cold, p, false);
    run_sample(&warm, p, true);
    if (cold.o.warm || !warm.o.warm)
        fail_msg("%s: forked %d and %d (\"%s\")", p->name, cold.o.warm, warm.o.warm, warm.o.message);
    if (p->pinned && cold.o.precision != warm.o.precision)
        fail_msg("%s: precision %u and %u", p->name, cold.o.precision, warm.o.precision);
    /* who ends a program that is over its memory, the kernel or the warden that sees it, is a matter of moments */
    bool same_signal = cold.o.signal == warm.o.signal || (cold.o.end == ASSAY_BOX_MEMORY && warm.o.end == ASSAY_BOX_MEMORY);
    if (cold.o.end != warm.o.end || cold.o.exit_code != warm.o.exit_code || !same_signal)
        fail_msg("%s: executed: end %d exit %d signal %d; forked: end %d exit %d signal %d\n%s%s\n%s", p->name, cold.o.end, cold.o.exit_code,
                 cold.o.signal, warm.o.end, warm.o.exit_code, warm.o.signal, warm.out.p, warm.err.p, warm.o.message);
    if (!p->varies && strcmp(cold.out.p, warm.out.p) != 0)
        fail_msg("%s: stdout differs\nexecuted: %s\nforked:   %s", p->name, cold.out.p, warm.out.p);
    if (!p->varies && strcmp(cold.err.p, warm.err.p) != 0)
        fail_msg("%s: stderr differs\nexecuted: %s\nforked:   %s", p->name, cold.err.p, warm.err.p);
    ran_free(&cold);
    ran_free(&warm);
}

static void test_sample(void **state)
{
    same(*state);
}

/* ---- what is not a comparison ---- */

static void test_random_differs(void **state)
{
    (void)state;
    static const struct sample p = {.source = "import random, os, uuid, secrets, tempfile\n"
                                              "print(random.random(), os.urandom(8), uuid.uuid4(), secrets.token_hex(8), next(tempfile._get_candidate_names()))\n"};
    struct ran a, b;
    run_sample(&a, &p, true);
    run_sample(&b, &p, true);
    assert_true(a.o.warm && b.o.warm);
    assert_true(a.out.n > 40);
    assert_string_not_equal(a.out.p, b.out.p);
    ran_free(&a);
    ran_free(&b);
}

/* Changes of every kind to the interpreter are nobody else's. */
static void test_nothing_stays(void **state)
{
    (void)state;
    static const struct sample bad = {.source = "import sys, builtins, os\nbuiltins.print = None\nsys.path.append('/evil')\nos.environ['EVIL'] = '1'\n"
                                                "sys.modules['json'] = None\nopen('/tmp/evil', 'w').write('x')\nos.dup2(0, 50)\nsys.setrecursionlimit(50)\n"
                                                "import ctypes\nctypes.memset(id(int), 0, 64)\n"};
    static const struct sample good = {.source = "import sys, os, json\nprint(sys.path.count('/evil'), 'EVIL' in os.environ, os.path.exists('/tmp/evil'), "
                                                 "sorted(os.listdir('/proc/self/fd')), sys.getrecursionlimit())\n"};
    struct ran r;
    run_sample(&r, &bad, true);
    assert_true(r.o.warm);
    ran_free(&r);
    run_sample(&r, &good, true);
    assert_true(r.o.warm);
    assert_int_equal(r.o.end, ASSAY_BOX_EXITED);
    assert_string_equal(r.out.p, "0 False False ['0', '1', '2', '3'] 1000\n");
    ran_free(&r);
}

static void test_credit_is_counted(void **state)
{
    (void)state;
    static const struct sample p = {.source = "pass\n"};
    struct ran r;
    run_sample(&r, &p, true);
    assert_true(r.o.warm);
    assert_true(r.o.cpu_us >= CREDIT_CPU_US);
    assert_true(r.o.cpu_user_us + r.o.cpu_system_us == r.o.cpu_us);
    assert_true(r.o.memory_peak_bytes >= CREDIT_MEMORY);
    ran_free(&r);
    /* all of its time is spent when it begins */
    static const struct sample none = {.source = "import time\ntime.sleep(5)\n", .cpu_ms = CREDIT_CPU_US / 1000};
    run_sample(&r, &none, true);
    assert_int_equal(r.o.end, ASSAY_BOX_CPU);
    ran_free(&r);
}

static void test_others_are_executed(void **state)
{
    (void)state;
    struct assay_box_spec spec;
    struct assay_box_file file;
    struct assay_str argv[4], env[N_ENV];
    struct ran r;
    spec_for(&spec, &file, argv, env, "import sys; print(sys.flags.no_user_site)\n");
    spec.flags = ASSAY_BOX_WARM;
    argv[1] = ASSAY_STR("-B");
    run_spec(&r, &spec);
    assert_false(r.o.warm);
    assert_string_equal(r.out.p, "0\n");
    ran_free(&r);
    spec_for(&spec, &file, argv, env, "import os; print(os.environ['HOME'])\n");
    spec.flags = ASSAY_BOX_WARM;
    env[1] = ASSAY_STR("HOME=/box");
    run_spec(&r, &spec);
    assert_false(r.o.warm);
    assert_string_equal(r.out.p, "/box\n");
    ran_free(&r);
    /* another stack: the address space is laid out for one */
    spec_for(&spec, &file, argv, env, "print(1)\n");
    spec.flags = ASSAY_BOX_WARM;
    spec.limits.stack_bytes = 8 * MIB;
    spec.warm_cpu_us = spec.limits.cpu_ms * 1000; /* it is no fork's, and so not counted */
    run_spec(&r, &spec);
    assert_false(r.o.warm);
    assert_int_equal(r.o.end, ASSAY_BOX_EXITED);
    assert_true(r.o.cpu_us < spec.warm_cpu_us);
    ran_free(&r);
}

/* The first child of a process that has a child of its own, or (leaf) that has none; 0: there is none. */
static pid_t child_of(pid_t parent, bool leaf)
{
    char path[64], text[512] = "";
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", parent, parent);
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    (void)!fgets(text, sizeof text, f);
    (void)fclose(f);
    for (char *p = text, *end; *p; p = end) {
        pid_t pid = (pid_t)strtol(p, &end, 10);
        if (end == p)
            break;
        if (leaf == (child_of(pid, true) == 0))
            return pid;
    }
    return 0;
}

/* Its death costs nobody a verdict, and there is another one after it. */
static void test_zygote_dies(void **state)
{
    (void)state;
    static const struct sample p = {.source = "print('well')\n"};
    /* the warden's children are the next box's init and the nursery, which alone has a child: the zygote */
    pid_t nursery = child_of(fx.pid, false), zygote = nursery ? child_of(nursery, true) : 0;
    assert_true(zygote > 0);
    assert_int_equal(kill(zygote, SIGKILL), 0);
    struct ran r;
    run_sample(&r, &p, true);
    assert_int_equal(r.o.end, ASSAY_BOX_EXITED);
    assert_string_equal(r.out.p, "well\n");
    ran_free(&r);
    run_sample(&r, &p, true);
    assert_true(r.o.warm);
    assert_string_equal(r.out.p, "well\n");
    ran_free(&r);
}

/* docs/languages.md promises it: nobody keeps one address layout for long. */
static void test_is_replaced_after_2000(void **state)
{
    (void)state;
    static const struct sample p = {.source = "import os\nos._exit(0)\n"};
    warm_up();
    pid_t nursery = child_of(fx.pid, false), first = nursery ? child_of(nursery, true) : 0, now = first;
    assert_true(first > 0);
    size_t n = 0;
    while (now == first && n < 2100) {
        struct ran r;
        run_sample(&r, &p, true);
        assert_true(r.o.warm);
        ran_free(&r);
        now = ++n < 1990 ? first : child_of(nursery, true);
    }
    /* the box of the next run is made while one runs, so the count is seen a run or two later */
    if (n < 1995 || n > 2005)
        fail_msg("replaced after %zu", n);
}

/* What is no CPython says why, and its programs are executed. */
static void test_not_an_interpreter(void **state)
{
    static const struct assay_box_events events = {.warmed = on_warmed};
    (void)state;
    struct assay_err err;
    const struct assay_str argv[] = {ASSAY_STR("/bin/ls")};
    warmed = false;
    assay_box_client_events(fx.client, &events, NULL);
    assert_int_equal(assay_box_client_warm(fx.client, argv, 1, NULL, 0, &err), 0);
    while (!warmed) {
        struct pollfd p = {.fd = assay_box_client_fd(fx.client), .events = POLLIN};
        assert_int_equal(poll(&p, 1, 20000), 1);
        assert_true(assay_box_client_on_ready(fx.client, &err) >= 0);
    }
    if (!strstr(warm_trouble, "does not export"))
        fail_msg("it said: %s", warm_trouble);
    static const struct sample p = {.source = "print('well')\n"};
    struct ran r;
    run_sample(&r, &p, true);
    assert_false(r.o.warm);
    assert_string_equal(r.out.p, "well\n");
    ran_free(&r);
    warm_up();
    run_sample(&r, &p, true);
    assert_true(r.o.warm);
    ran_free(&r);
}

static int group_setup(void **state)
{
    (void)state;
    if (!fixture_start(&fx, ZYGOTE_MODE, NULL, !ZYGOTE_ORDINARY, ZYGOTE_ORDINARY))
        return -1;
    warm_up();
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    int status;
    return fixture_stop(&fx, &status) && status == 0 ? 0 : -1;
}

int main(void)
{
    enum { N = sizeof samples / sizeof *samples };
    static struct CMUnitTest list[N + 9];
    size_t n = 0;
    if (geteuid() != 0) {
        printf("1..0 # SKIP needs root\n");
        return 0;
    }
    if (ZYGOTE_ORDINARY && !ordinary_user_can("/")) {
        printf("1..0 # SKIP an ordinary user gets no user namespace here\n");
        return 0;
    }
    if (!realpath("/usr/bin/python3", python)) {
        printf("1..0 # SKIP there is no /usr/bin/python3\n");
        return 0;
    }
    for (size_t i = 0; i < N; i++) {
        void *p;
        const struct sample *s = &samples[i];
        memcpy(&p, &s, sizeof p);
        list[n++] = (struct CMUnitTest){.name = s->name, .test_func = test_sample, .initial_state = p};
    }
    list[n++] = (struct CMUnitTest)cmocka_unit_test(test_random_differs);
    list[n++] = (struct CMUnitTest)cmocka_unit_test(test_nothing_stays);
    list[n++] = (struct CMUnitTest)cmocka_unit_test(test_credit_is_counted);
    list[n++] = (struct CMUnitTest)cmocka_unit_test(test_others_are_executed);
    list[n++] = (struct CMUnitTest)cmocka_unit_test(test_zygote_dies);
    list[n++] = (struct CMUnitTest)cmocka_unit_test(test_is_replaced_after_2000);
    list[n++] = (struct CMUnitTest)cmocka_unit_test(test_not_an_interpreter);
    return _cmocka_run_group_tests(ZYGOTE_MODE, list, n, group_setup, group_teardown);
}
