/*
 * A Kafka cluster for tests: librdkafka's mock, serving other processes on loopback, with faults on command.
 *
 *   kafka_mock BROKERS [TOPIC PARTITIONS]...
 *
 * Prints the bootstrap servers, then answers each line of its standard input with "ok" or "no REASON":
 *   down | up                     every broker closes its connections and refuses new ones, or takes them again
 *   down N | up N                 one of them
 *   rtt MS                        every answer takes so long
 *   errors KEY CODE COUNT         the next COUNT requests of the protocol's API key KEY fail with error CODE
 *   clear KEY                     forgets such errors
 *   topic NAME PARTITIONS         makes a topic
 * It ends with its standard input.
 */
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include <stdbool.h>

static int brokers;

static long number(const char *z)
{
    char *end = NULL;
    long v = z ? strtol(z, &end, 10) : -1;
    return z && end && *end == '\0' ? v : -1;
}

static bool obey(rd_kafka_mock_cluster_t *mc, char *line)
{
    char *save = NULL, *word[4] = {NULL};
    for (int i = 0; i < 4; i++)
        word[i] = strtok_r(i == 0 ? line : NULL, " \n", &save);
    if (!word[0])
        return false;
    bool down = strcmp(word[0], "down") == 0, up = strcmp(word[0], "up") == 0, rtt = strcmp(word[0], "rtt") == 0;
    if (down || up || rtt) {
        long only = rtt ? -1 : number(word[1]);
        for (int i = 1; i <= brokers; i++)
            if (only < 0 || only == i)
                (void)(down ? rd_kafka_mock_broker_set_down(mc, i)
                            : up ? rd_kafka_mock_broker_set_up(mc, i) : rd_kafka_mock_broker_set_rtt(mc, i, (int)number(word[1])));
        return true;
    }
    if (strcmp(word[0], "errors") == 0 && word[3]) {
        rd_kafka_resp_err_t codes[1000];
        size_t n = (size_t)number(word[3]);
        if (n > 1000)
            return false;
        for (size_t i = 0; i < n; i++)
            codes[i] = (rd_kafka_resp_err_t)number(word[2]);
        rd_kafka_mock_push_request_errors_array(mc, (int16_t)number(word[1]), n, codes);
        return true;
    }
    if (strcmp(word[0], "clear") == 0 && word[1]) {
        rd_kafka_mock_clear_request_errors(mc, (int16_t)number(word[1]));
        return true;
    }
    if (strcmp(word[0], "topic") == 0 && word[2])
        return rd_kafka_mock_topic_create(mc, word[1], (int)number(word[2]), 1) == RD_KAFKA_RESP_ERR_NO_ERROR;
    return false;
}

int main(int argc, char **argv)
{
    char why[300], line[300];
    brokers = argc > 1 ? (int)number(argv[1]) : 1;
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), why, sizeof why);
    rd_kafka_mock_cluster_t *mc = rk ? rd_kafka_mock_cluster_new(rk, brokers) : NULL;
    if (!mc)
        return 1;
    for (int i = 2; i + 1 < argc; i += 2)
        (void)rd_kafka_mock_topic_create(mc, argv[i], (int)number(argv[i + 1]), brokers < 3 ? brokers : 3);
    printf("%s\n", rd_kafka_mock_cluster_bootstraps(mc));
    (void)fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        printf("%s\n", obey(mc, line) ? "ok" : "no such command");
        (void)fflush(stdout);
    }
    rd_kafka_mock_cluster_destroy(mc);
    rd_kafka_destroy(rk);
    return 0;
}
