/* Asks a policy server over many connections, closed loop or open, faster than a server answers.

   In:      the bytes of one request: a whole HTTP/1.1 request or, with a handshake, a whole masked WebSocket frame.
            GREETINGS is how many frames the server sends before it is asked. A run of # in it is replaced by the milliseconds that are left of the request's deadline when it is sent.
   Out:     one JSON object: answers by kind, their latency from the moment at which the request was due.
   Refuses: an answer that is none of 200, 429, 503, 504, or a frame of another kind or length: status 1 and a sentence.

   Closed loop (rate 0): a connection asks as soon as it may, with up to `in_flight` requests unanswered.
   Open loop: request k is due at k / rate on connection k mod connections, whether or not answers have come. One that
   finds `in_flight` others of its connection unanswered is given up, as by a robot that goes on to its next step. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MAX_IN_FLIGHT = 64, MAX_REQUEST = 1024, BUFFER = 16384, BIN_US = 10, BINS = 500000, WARM_UP_US = 500000 };

struct connection {
    int fd;
    uint32_t watched;                 /* what epoll tells of it */
    unsigned oldest, in_flight;       /* of the requests on their way, in `due_us` */
    int64_t due_us[MAX_IN_FLIGHT];
    size_t received, unsent;          /* bytes in the buffers below */
    char answers[BUFFER], requests[MAX_IN_FLIGHT * MAX_REQUEST];
};

static struct { int64_t ok, late, refused, unavailable, expired, given_up; } count;
static uint32_t latency[BINS], lag[BINS];
static char request[MAX_REQUEST], handshake[MAX_REQUEST];
static size_t request_length, handshake_length, gap, gap_length, answer_length;
static unsigned connections, in_flight, greetings;
static int poller;
static double rate;
static int64_t deadline_us, start_us, counted_from_us, end_us;
static struct connection *all;

static void fail(const char *what)
{
    fprintf(stderr, "load.c: %s\n", what);
    exit(1);
}

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void note(uint32_t *bins, int64_t us)
{
    int64_t bin = us < 0 ? 0 : us / BIN_US;
    bins[bin < BINS ? bin : BINS - 1]++;
}

static double percentile_ms(const uint32_t *bins, double percent)
{
    int64_t total = 0, seen = 0;
    for (int i = 0; i < BINS; i++) total += bins[i];
    for (int i = 0; i < BINS; i++)
        if ((seen += bins[i]) >= total * percent / 100) return (i + 1) * BIN_US / 1000.0;
    return 0;
}

static double mean_ms(const uint32_t *bins)
{
    double total = 0, sum = 0;
    for (int i = 0; i < BINS; i++) total += bins[i], sum += bins[i] * (i + 0.5) * BIN_US / 1000.0;
    return total ? sum / total : 0;
}

static int counts(int64_t due_us) { return due_us >= counted_from_us && due_us < end_us; }

static int64_t due_at(int64_t k) { return start_us + (int64_t)(k * 1e6 / rate); }

/* Adds one request to those that are to be sent, due at `due_us`. */
static void write_request(struct connection *c, int64_t due_us, int64_t now)
{
    char *place = c->requests + c->unsent;
    memcpy(place, request, request_length);
    if (gap_length) {
        int64_t left_us = deadline_us - (now - due_us);
        for (size_t i = 0; i < gap_length; i++) { /* decimal milliseconds, flush right */
            char *digit = place + gap + gap_length - 1 - i;
            if (i == 3) *digit = '.';
            else if (i > 4 && !left_us) *digit = ' ';
            else { *digit = '0' + left_us % 10; left_us /= 10; }
        }
    }
    c->unsent += request_length;
    c->due_us[(c->oldest + c->in_flight++) % MAX_IN_FLIGHT] = due_us;
}

static void watch(struct connection *c, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (events != c->watched) epoll_ctl(poller, c->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &event);
    c->watched = events;
}

static void flush(struct connection *c)
{
    ssize_t sent = send(c->fd, c->requests, c->unsent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) fail("a connection broke while asking");
    if (sent < 0) sent = 0;
    c->unsent -= sent;
    if (c->unsent) memmove(c->requests, c->requests + sent, c->unsent);
    watch(c, EPOLLIN | (c->unsent ? EPOLLOUT : 0));
}

/* Asks as often as a closed loop may. */
static void ask_again(struct connection *c, int64_t now)
{
    if (c->unsent || now >= end_us) return;
    while (c->in_flight < in_flight) write_request(c, now, now);
    if (c->unsent) flush(c);
}

/* Asks what is due in an open loop. */
static void ask_due(struct connection *c, int64_t due_us, int64_t now)
{
    if (c->in_flight == in_flight || (deadline_us && now - due_us >= deadline_us)) {
        count.given_up += counts(due_us);
        return;
    }
    write_request(c, due_us, now);
    flush(c);
    if (counts(due_us)) note(lag, now_us() - due_us);
}

/* The length of the whole answer at the start of `text`, 0 if it is not whole yet; and its status. */
static size_t read_answer(const char *text, size_t length, int *status)
{
    if (handshake_length) {
        size_t head = answer_length > 125 ? 4 : 2;
        if (length < head) return 0;
        size_t told = (unsigned char)text[1] == 126 ? ((unsigned char)text[2] << 8) + (unsigned char)text[3] : (size_t)text[1];
        if (text[0] != (char)0x82 || told != answer_length) fail("a frame is not the answer that was expected");
        *status = 200;
        return length < head + answer_length ? 0 : head + answer_length;
    }
    const char *end = memmem(text, length, "\r\n\r\n", 4);
    if (!end) return 0;
    const char *field = memmem(text, end - text, "ength: ", 7); /* of content-length, however it is spelt */
    if (!field) fail("an answer has no content-length");
    *status = atoi(text + 9);
    size_t whole = end + 4 - text + atol(field + 7);
    return length < whole ? 0 : whole;
}

static void take_answer(struct connection *c, int status, int64_t now)
{
    if (!c->in_flight) fail("an answer came that nobody had asked for");
    int64_t due_us = c->due_us[c->oldest];
    c->oldest = (c->oldest + 1) % MAX_IN_FLIGHT;
    c->in_flight--;
    if (!counts(due_us)) return;
    if (status == 200) {
        note(latency, now - due_us);
        if (deadline_us && now - due_us > deadline_us) count.late++;
        else count.ok++;
    } else if (status == 429) count.refused++;
    else if (status == 503) count.unavailable++;
    else if (status == 504) count.expired++;
    else fail("a request failed with a status other than 429, 503 and 504");
}

static void read_answers(struct connection *c)
{
    ssize_t got = recv(c->fd, c->answers + c->received, BUFFER - c->received, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) fail("the server closed a connection");
    int64_t now = now_us();
    size_t begin = 0, whole;
    int status;
    c->received += got;
    while ((whole = read_answer(c->answers + begin, c->received - begin, &status))) {
        begin += whole;
        take_answer(c, status, now);
    }
    c->received -= begin;
    if (c->received == BUFFER) fail("an answer is longer than 16 KiB");
    if (c->received) memmove(c->answers, c->answers + begin, c->received);
    if (rate == 0) ask_again(c, now);
}

static void read_all(int fd, unsigned char *into, size_t length)
{
    for (ssize_t got; length; length -= got, into += got)
        if ((got = recv(fd, into, length, 0)) <= 0) fail("a greeting did not come");
}

/* Reads one frame, and forgets it. */
static void skip_frame(int fd)
{
    unsigned char head[10], payload[256];
    read_all(fd, head, 2);
    size_t length = head[1], more = length == 126 ? 2 : length == 127 ? 8 : 0;
    read_all(fd, head + 2, more);
    if (more) length = 0;
    for (size_t i = 0; i < more; i++) length = (length << 8) + head[2 + i];
    for (size_t part; length; length -= part) read_all(fd, payload, part = length < sizeof payload ? length : sizeof payload);
}

static void open_connection(struct connection *c, int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address)) fail("cannot connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (handshake_length) {
        size_t got = 0;
        if (send(c->fd, handshake, handshake_length, MSG_NOSIGNAL) != (ssize_t)handshake_length) fail("cannot shake hands");
        while (got < 4 || memcmp(c->answers + got - 4, "\r\n\r\n", 4))
            if (got == BUFFER || recv(c->fd, c->answers + got++, 1, 0) != 1) fail("the handshake was not answered");
        if (atoi(c->answers + 9) != 101) fail("the handshake was refused");
        for (unsigned i = 0; i < greetings; i++) skip_frame(c->fd);
    }
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    watch(c, EPOLLIN);
}

static size_t read_file(const char *path, char *into)
{
    FILE *file = fopen(path, "rb");
    if (!file) fail("cannot read a file of requests");
    size_t length = fread(into, 1, MAX_REQUEST, file);
    if (length == MAX_REQUEST) fail("a request must be shorter than 1 KiB");
    fclose(file);
    return length;
}

static void run(void)
{
    struct epoll_event events[256];
    int64_t next = 0, now;
    start_us = now_us();
    counted_from_us = start_us + WARM_UP_US;
    end_us += counted_from_us;
    if (rate == 0)
        for (unsigned i = 0; i < connections; i++) ask_again(&all[i], start_us);
    while ((now = now_us()) < end_us + 2 * deadline_us + 200000) {
        for (; rate && now < end_us && due_at(next) <= now; next++)
            ask_due(&all[next % connections], due_at(next), now);
        int ready = epoll_wait(poller, events, 256, rate && now < end_us ? 0 : 10);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) flush(c);
            if (events[i].events & ~EPOLLOUT) read_answers(c);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 8 && argc != 11)
        fail("expected PORT REQUEST CONNECTIONS IN_FLIGHT SECONDS RATE DEADLINE_MS [HANDSHAKE ANSWER_BYTES GREETINGS]");
    int port = atoi(argv[1]);
    request_length = read_file(argv[2], request);
    connections = atoi(argv[3]);
    in_flight = atoi(argv[4]);
    end_us = atof(argv[5]) * 1e6; /* from the start of what counts */
    rate = atof(argv[6]);
    deadline_us = atof(argv[7]) * 1e3;
    if (in_flight < 1 || in_flight > MAX_IN_FLIGHT || !connections) fail("expected 1 to 64 requests in flight");
    if (argc == 11) {
        handshake_length = read_file(argv[8], handshake);
        answer_length = atoi(argv[9]);
        greetings = atoi(argv[10]);
    }
    char *run_of_gaps = memchr(request, '#', request_length);
    if (run_of_gaps && !handshake_length) {
        gap = run_of_gaps - request;
        gap_length = strspn(run_of_gaps, "#");
    }
    poller = epoll_create1(0);
    all = calloc(connections, sizeof *all);
    for (unsigned i = 0; i < connections; i++) open_connection(&all[i], port);
    run();
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double seconds = (end_us - counted_from_us) / 1e6;
    double cpu_s = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    printf("{\"rps\": %.1f, \"late\": %.1f, \"refused\": %.1f, \"unavailable\": %.1f, \"expired\": %.1f, "
           "\"given_up\": %.1f, \"mean_ms\": %.3f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"lag_p99_ms\": %.3f, \"cpu\": %.2f}\n",
           count.ok / seconds, count.late / seconds, count.refused / seconds, count.unavailable / seconds,
           count.expired / seconds, count.given_up / seconds, mean_ms(latency), percentile_ms(latency, 50), percentile_ms(latency, 99),
           percentile_ms(lag, 99), cpu_s / ((now_us() - start_us) / 1e6));
    return 0;
}
