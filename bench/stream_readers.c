/*
 * Thousands of readers of event streams (server-sent events), in one thread with epoll.
 *
 *   stream_readers --port N --token T --tests N
 *
 * It is told what to do by lines on its input, and answers each with lines, the last of which is "ok":
 *
 *   open N LAST PATH   N more streams of PATH; LAST: the Last-Event-ID to send, or - for none
 *   again              closes every connection at once, and each comes back with the id that it saw last
 *   count              open=N (those that have had their 200), ended=N, answered 204 or ended with their submission, faults=N
 *   report             what came since the last report, and how every stream stands:
 *                      event SEQ AT READERS FIRST LAST    ms of the wall clock; AT is the event's own time
 *                      delay MS N                         so many readers had an event MS after its time
 *                      streams N EVENTS HASH PATH         N streams of PATH have seen so many events, with this sum of their ids
 *                      fault TEXT
 *
 * A stream of events is held to what it promises: ids only grow, nothing is reset, and it ends only with its submission.  One
 * of a single submission must besides have told of its end once, unless it began after that, and, when it began while that was
 * queued, of its start and of each test once.  Whether several streams have seen the same is for the reader of the report: by count and sum.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define STREAMS_MAX 200000
#define LINE_KEPT 600 /* of a line; the time of an event and the status of a submission stand near the beginning of its data */
#define DELAY_MAX 60000
#define FAULTS_TOLD 20

enum mode { CONNECTING, HEAD, CHUNK_SIZE, CHUNK, CHUNK_END, OVER };

struct stream {
    int fd;
    enum mode mode;
    int status;
    size_t chunk_left;
    const char *path;
    bool one; /* of a single submission */
    char line[LINE_KEPT];
    size_t n;
    /* the event under way */
    char name[20];
    int64_t id, at;
    bool began_queued, began_over;
    /* what it has seen */
    int64_t last; /* -1: nothing yet */
    uint64_t events, sum;
    unsigned running, tests, done;
};

struct event {
    int64_t at, first, last;
    unsigned readers;
};

static long port, tests;
static const char *token;
static int epoll;
static struct stream *stream[STREAMS_MAX];
static size_t n_streams, n_open, n_ended, n_faults;
static char fault_text[FAULTS_TOLD][400];
static struct event *event;
static int64_t first_seq;
static size_t n_events;
static unsigned delay[DELAY_MAX + 1];
static int64_t now_ms; /* of the wall clock, when the bytes in hand were read */

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "stream_readers: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t wall_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

__attribute__((format(printf, 2, 3))) static void fault(const struct stream *s, const char *fmt, ...)
{
    if (n_faults < FAULTS_TOLD) {
        va_list ap;
        int n = snprintf(fault_text[n_faults], sizeof fault_text[0], "%s after event %lld: ", s->path, (long long)s->last);
        va_start(ap, fmt);
        (void)vsnprintf(fault_text[n_faults] + n, sizeof fault_text[0] - (size_t)n, fmt, ap);
        va_end(ap);
    }
    n_faults++;
}

/* ---- connections ----------------------------------------------------------------------------------- */

static void dial(struct stream *s)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->fd < 0 || (connect(s->fd, (struct sockaddr *)&a, sizeof a) != 0 && errno != EINPROGRESS))
        die("connect");
    struct epoll_event ev = {.events = EPOLLOUT, .data.ptr = s};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, s->fd, &ev) != 0)
        die("epoll_ctl");
    s->mode = CONNECTING;
    s->n = 0;
    s->name[0] = '\0';
    s->status = 0;
}

static void ask(struct stream *s)
{
    char text[4096], last[64] = "";
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
        errno = error;
        die("connect");
    }
    if (s->last >= 0)
        (void)snprintf(last, sizeof last, "Last-Event-ID: %lld\r\n", (long long)s->last);
    int n = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nAccept: text/event-stream\r\n%s\r\n", s->path,
                     token, last);
    if (n < 0 || (size_t)n >= sizeof text || send(s->fd, text, (size_t)n, MSG_NOSIGNAL) != n)
        die("send");
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = s};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, s->fd, &ev) != 0)
        die("epoll_ctl");
    s->mode = HEAD;
}

static void over(struct stream *s)
{
    if (s->mode != CONNECTING && s->mode != HEAD)
        n_open--;
    (void)close(s->fd);
    s->fd = -1;
    s->mode = OVER;
    n_ended++;
}

/* ---- events ----------------------------------------------------------------------------------------- */

static int64_t time_of(const char *line)
{
    const char *p = strstr(line, "\"at\":\"");
    struct tm tm = {.tm_year = 0};
    int ms;
    if (p == NULL || sscanf(p + 6, "%d-%d-%dT%d:%d:%d.%3dZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &ms) != 7)
        return -1;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    return (int64_t)timegm(&tm) * 1000 + ms;
}

static struct event *event_at(int64_t seq)
{
    if (n_events == 0)
        first_seq = seq > 100000 ? seq - 100000 : 1; /* a stream that resumes may bring older ones */
    if (seq < first_seq)
        return NULL;
    size_t at = (size_t)(seq - first_seq);
    if (at >= n_events) {
        size_t room = at + 65536;
        event = reallocarray(event, room, sizeof *event);
        if (event == NULL)
            die("memory");
        memset(event + n_events, 0, (room - n_events) * sizeof *event);
        n_events = room;
    }
    return &event[at];
}

static void arrived(struct stream *s)
{
    struct event *e = event_at(s->id);
    if (e == NULL)
        return;
    if (e->readers++ == 0) {
        e->first = now_ms;
        e->at = s->at;
    }
    e->last = now_ms;
    int64_t d = now_ms - e->at;
    delay[d < 0 ? 0 : d > DELAY_MAX ? DELAY_MAX : d]++;
}

static void tell(struct stream *s)
{
    if (strcmp(s->name, "position") == 0)
        return;
    if (strcmp(s->name, "reset") == 0) {
        fault(s, "reset");
        return;
    }
    if (strcmp(s->name, "state") == 0) {
        s->last = s->id;
        return;
    }
    if (s->id <= s->last)
        fault(s, "%s with id %lld", s->name, (long long)s->id);
    s->last = s->id;
    s->events++;
    s->sum = (s->sum ^ (uint64_t)s->id) * 1099511628211U;
    s->running += strcmp(s->name, "running") == 0;
    s->tests += strcmp(s->name, "test") == 0;
    s->done += strcmp(s->name, "done") == 0;
    arrived(s);
}

/* A line of the stream, as far as it was kept. */
static void on_line(struct stream *s)
{
    if (s->n == 0) {
        if (s->name[0] != '\0')
            tell(s);
        s->name[0] = '\0';
        s->id = -1;
    } else if (strncmp(s->line, "id: ", 4) == 0) {
        s->id = strtoll(s->line + 4, NULL, 10);
    } else if (strncmp(s->line, "event: ", 7) == 0) {
        (void)snprintf(s->name, sizeof s->name, "%.19s", s->line + 7);
    } else if (strncmp(s->line, "data: ", 6) == 0) {
        const struct event *known = s->id >= 0 ? event_at(s->id) : NULL;
        s->at = known != NULL && known->readers != 0 ? known->at : time_of(s->line);
        if (strcmp(s->name, "state") == 0 && strstr(s->line, "\"status\":\"queued\"") != NULL)
            s->began_queued = true;
        else if (strcmp(s->name, "state") == 0 && strstr(s->line, "\"status\":\"running\"") == NULL)
            s->began_over = true;
    }
}

/* ---- bytes ------------------------------------------------------------------------------------------ */

static void keep(struct stream *s, const char *p, size_t n)
{
    size_t room = LINE_KEPT - 1 - s->n;
    memcpy(s->line + s->n, p, n < room ? n : room);
    s->n += n < room ? n : room;
    s->line[s->n] = '\0';
}

/* Takes bytes up to the end of a line; true: s->line is one. */
static bool whole_line(struct stream *s, const char **p, const char *end)
{
    const char *nl = memchr(*p, '\n', (size_t)(end - *p));
    keep(s, *p, (size_t)((nl != NULL ? nl : end) - *p));
    *p = nl != NULL ? nl + 1 : end;
    if (nl != NULL && s->n > 0 && s->line[s->n - 1] == '\r')
        s->line[--s->n] = '\0';
    return nl != NULL;
}

static void head_line(struct stream *s)
{
    if (s->status == 0) {
        s->status = (int)strtol(s->n > 9 ? s->line + 9 : "0", NULL, 10);
        if (s->status != 200 && s->status != 204)
            fault(s, "%s", s->line);
    } else if (s->n == 0 && s->status == 200) {
        s->mode = CHUNK_SIZE;
        n_open++;
    } else if (s->n == 0) {
        over(s);
    }
    s->n = 0;
    s->line[0] = '\0';
}

static void the_end(struct stream *s)
{
    if (!s->one)
        fault(s, "the stream has ended");
    else if (s->done != (s->began_over ? 0 : 1) || (s->began_queued && (s->running != 1 || s->tests != (unsigned)tests)))
        fault(s, "ended with %u running, %u tests, %u done%s", s->running, s->tests, s->done, s->began_queued ? ", from the queue on" : "");
    over(s);
}

/* The chunk's size line stands in the same buffer as lines of the stream, which may go on over a chunk's end: so it is read apart. */
static void size_line(struct stream *s, const char **p, const char *end)
{
    while (*p < end && **p != '\n') {
        char c = *(*p)++;
        if (c == '\r')
            continue;
        s->chunk_left = s->chunk_left * 16 + (size_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    if (*p == end)
        return;
    (*p)++;
    s->mode = CHUNK;
    if (s->chunk_left == 0)
        the_end(s);
}

static void feed(struct stream *s, const char *p, const char *end)
{
    while (p < end && s->mode != OVER) {
        if (s->mode == HEAD) {
            if (whole_line(s, &p, end))
                head_line(s);
        } else if (s->mode == CHUNK_SIZE) {
            size_line(s, &p, end);
        } else if (s->mode == CHUNK_END) {
            s->mode = *p++ == '\n' ? CHUNK_SIZE : CHUNK_END;
        } else {
            const char *stop = (size_t)(end - p) < s->chunk_left ? end : p + s->chunk_left, *from = p;
            if (whole_line(s, &p, stop)) {
                on_line(s);
                s->n = 0;
            }
            s->chunk_left -= (size_t)(p - from);
            if (s->chunk_left == 0)
                s->mode = CHUNK_END;
        }
    }
}

static void on_readable(struct stream *s)
{
    static char buf[262144];
    ssize_t n = recv(s->fd, buf, sizeof buf, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        fault(s, "cut off: %s", n == 0 ? "closed" : strerror(errno));
        over(s);
        return;
    }
    now_ms = wall_ms();
    feed(s, buf, buf + n);
}

/* ---- what it is told ---------------------------------------------------------------------------------- */

static void cmd_open(char *rest)
{
    char *last, *path;
    long n = strtol(rest, &last, 10);
    last += strspn(last, " ");
    path = strchr(last, ' ');
    if (n < 1 || path == NULL || n_streams + (size_t)n > STREAMS_MAX)
        die("open");
    *path++ = '\0';
    path = strdup(path);
    if (path == NULL)
        die("memory");
    for (long i = 0; i < n; i++) {
        struct stream *s = calloc(1, sizeof *s);
        if (s == NULL)
            die("memory");
        s->path = path;
        s->one = strncmp(path, "/submissions/", 13) == 0;
        s->last = *last == '-' ? -1 : strtoll(last, NULL, 10);
        s->id = -1;
        stream[n_streams++] = s;
        dial(s);
    }
}

static void cmd_again(void)
{
    for (size_t i = 0; i < n_streams; i++) {
        struct stream *s = stream[i];
        if (s->mode == OVER)
            continue;
        if (s->mode != CONNECTING && s->mode != HEAD)
            n_open--;
        (void)close(s->fd);
        s->chunk_left = 0;
        s->id = -1;
    }
    for (size_t i = 0; i < n_streams; i++)
        if (stream[i]->mode != OVER)
            dial(stream[i]);
}

static int by_what_they_saw(const void *a, const void *b)
{
    const struct stream *x = *(struct stream *const *)a, *y = *(struct stream *const *)b;
    int d = strcmp(x->path, y->path);
    if (d == 0)
        d = (x->events > y->events) - (x->events < y->events);
    return d != 0 ? d : (x->sum > y->sum) - (x->sum < y->sum);
}

static void cmd_report(void)
{
    for (size_t i = 0; i < n_events; i++)
        if (event[i].readers != 0)
            printf("event %lld %lld %u %lld %lld\n", (long long)first_seq + (long long)i, (long long)event[i].at, event[i].readers,
                   (long long)event[i].first, (long long)event[i].last);
    if (n_events != 0)
        memset(event, 0, n_events * sizeof *event);
    for (size_t i = 0; i <= DELAY_MAX; i++)
        if (delay[i] != 0)
            printf("delay %zu %u\n", i, delay[i]);
    memset(delay, 0, sizeof delay);
    qsort(stream, n_streams, sizeof stream[0], by_what_they_saw);
    for (size_t i = 0, n = 0; i < n_streams; i++) {
        n++;
        if (i + 1 < n_streams && by_what_they_saw(&stream[i], &stream[i + 1]) == 0)
            continue;
        printf("streams %zu %llu %016llx %s\n", n, (unsigned long long)stream[i]->events, (unsigned long long)stream[i]->sum, stream[i]->path);
        n = 0;
    }
    for (size_t i = 0; i < n_faults && i < FAULTS_TOLD; i++)
        printf("fault %s\n", fault_text[i]);
}

static void obey(char *line)
{
    if (strncmp(line, "open ", 5) == 0)
        cmd_open(line + 5);
    else if (strcmp(line, "again") == 0)
        cmd_again();
    else if (strcmp(line, "count") == 0)
        printf("open=%zu ended=%zu faults=%zu\n", n_open, n_ended, n_faults);
    else if (strcmp(line, "report") == 0)
        cmd_report();
    else
        die(line);
    printf("ok\n");
    (void)fflush(stdout);
}

/* False at the end of its input. */
static bool on_input(void)
{
    static char text[8192];
    static size_t have;
    ssize_t n = read(0, text + have, sizeof text - 1 - have);
    if (n <= 0)
        return n < 0 && errno == EINTR;
    have += (size_t)n;
    for (char *nl; (nl = memchr(text, '\n', have)) != NULL;) {
        *nl++ = '\0';
        obey(text);
        have -= (size_t)(nl - text);
        memmove(text, nl, have);
    }
    return true;
}

int main(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--port") == 0)
            port = strtol(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--token") == 0)
            token = argv[i + 1];
        else if (strcmp(argv[i], "--tests") == 0)
            tests = strtol(argv[i + 1], NULL, 10);
    }
    if (port < 1 || port > 65535 || token == NULL || tests < 1) {
        (void)fprintf(stderr, "usage: stream_readers --port N --token T --tests N\n");
        return 2;
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event in = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &in) != 0)
        die("epoll");
    for (;;) {
        struct epoll_event ev[256];
        int n = epoll_wait(epoll, ev, 256, -1);
        bool told = false;
        for (int i = 0; i < n; i++) {
            struct stream *s = ev[i].data.ptr;
            if (s == NULL)
                told = true; /* last, since it may close what else is in ev */
            else if (s->mode == CONNECTING)
                ask(s);
            else if (s->mode != OVER)
                on_readable(s);
        }
        if (told && !on_input())
            return 0;
    }
}
