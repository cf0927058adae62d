#include "setup.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <assay/str.h>
#include <assay/value.h>

#include "core_routes.h"
#include "limits.h"
#include "proxies.h"
#include "tls.h"

#define MIB ((int64_t)1 << 20)
#define DAY_MS ((int64_t)86400000)

enum { T_CONFIG, T_DATA_DIR, T_PLUGIN_PATH, T_LIBEXEC_DIR, T_SHARE_DIR, T_END };

/* Rows whose default depends on the machine have it filled in by assay_setup_core. */
static const struct assay_option core_rows[] = {
    {.name = "app_env", .env = "APP_ENV", .type = ASSAY_OPT_CHOICE, .default_text = "development",
     .choices = "development|test|staging|production",
     .help = "Where this server runs. Only development takes a weak signing secret and shows internal errors."},
    {.name = "config", .type = ASSAY_OPT_STRING, .help = "INI file to read; read at the default place only if it is there."},
    {.name = "data_dir", .type = ASSAY_OPT_STRING,
     .help = "Folder for the database, blobs and run files. Without ASSAY_DATA_DIR: /var/lib/assay for root, "
             "$XDG_DATA_HOME/assay or ~/.local/share/assay for others."},
    {.name = "plugin_path", .type = ASSAY_OPT_STRING, .help = "Folders with plugins, separated by colons."},
    {.name = "libexec_dir", .type = ASSAY_OPT_STRING, .help = "Folder with assay-boxkeeper and assay-warden."},
    {.name = "share_dir", .type = ASSAY_OPT_STRING, .help = "Folder with the installed data: languages, openapi.json."},
    {.name = "only", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Services to run, separated by commas; empty runs all."},
    {.name = "boxkeeper", .type = ASSAY_OPT_BOOL, .default_text = "true",
     .help = "Start the boxkeeper. Without it nothing can be judged in this process."},
    {.name = "server_user", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Started as root: the account that the server becomes. Empty: assay, or uid 65534 where there is none."},
    {.name = "drain_timeout", .type = ASSAY_OPT_DURATION, .default_text = "10s", .min = 0, .max = 3600000,
     .help = "How long requests and deliveries under way may take to end when the server is told to stop."},
    {.name = "log_level", .type = ASSAY_OPT_CHOICE, .default_text = "info", .choices = "debug|info|warn|error",
     .help = "Least important lines that are logged."},
    {.name = "log_format", .type = ASSAY_OPT_CHOICE, .default_text = "auto", .choices = "auto|logfmt|json",
     .help = "Form of log lines; auto is logfmt on a terminal and JSON elsewhere."},
    {.name = "access_log", .type = ASSAY_OPT_BOOL, .default_text = "true", .help = "Log a line for each request."},

    {.name = "http_address", .type = ASSAY_OPT_STRING, .default_text = "127.0.0.1",
     .help = "Address to listen on; 0.0.0.0 or :: for all."},
    {.name = "http_port", .env = "HTTP_PORT", .type = ASSAY_OPT_INT, .default_text = "8080", .min = 0, .max = 65535,
     .help = "Port to listen on; 0 takes a free one and writes it to <data_dir>/run/url."},
    {.name = "http_loops", .type = ASSAY_OPT_INT, .default_text = "0", .min = 0, .max = 64,
     .help = "Event loops; 0 takes one for each processor, at most 4."},
    {.name = "http_connections_max", .type = ASSAY_OPT_INT, .default_text = "10000", .min = 1, .max = 1000000,
     .help = "Most open connections."},
    {.name = "http_header_max", .type = ASSAY_OPT_BYTES, .default_text = "16k", .min = 1024, .max = MIB,
     .help = "Most bytes of a request's line and headers."},
    {.name = "http_header_count_max", .type = ASSAY_OPT_INT, .default_text = "100", .min = 10, .max = 1000,
     .help = "Most headers of a request."},
    {.name = "http_body_memory_max", .type = ASSAY_OPT_BYTES, .default_text = "256m", .min = MIB, .max = 1024 * 1024 * MIB,
     .help = "Most memory for the bodies of all requests under way."},
    {.name = "http_body_spool_over", .type = ASSAY_OPT_BYTES, .default_text = "1m", .min = 4096, .max = 1024 * MIB,
     .help = "Longer request bodies go to a file without a name in <data_dir>/run/spool instead of memory."},
    {.name = "http_spool_max", .type = ASSAY_OPT_BYTES, .default_text = "1g", .min = MIB, .max = 1024 * 1024 * MIB,
     .help = "Most bytes of all such files together; more are refused with 503."},
    {.name = "http_unsent_max", .type = ASSAY_OPT_BYTES, .default_text = "256m", .min = MIB, .max = 1024 * 1024 * MIB,
     .help = "Most memory for answers that clients have not taken yet; over it those that take longest are cut off."},
    {.name = "http_pipelined_max", .type = ASSAY_OPT_INT, .default_text = "32", .min = 1, .max = 10000,
     .help = "Requests of one connection that are answered in a row before others have their turn."},
    {.name = "http_header_timeout", .type = ASSAY_OPT_DURATION, .default_text = "10s", .min = 100, .max = DAY_MS,
     .help = "Longest time from a request's first byte to the end of its headers."},
    {.name = "http_body_timeout", .type = ASSAY_OPT_DURATION, .default_text = "10m", .min = 100, .max = DAY_MS,
     .help = "Longest time for a request's body."},
    {.name = "http_body_grace", .type = ASSAY_OPT_DURATION, .default_text = "20s", .min = 100, .max = DAY_MS,
     .help = "Time for a request's body, or for a client to take an answer, before http_rate_min counts."},
    {.name = "http_rate_min", .type = ASSAY_OPT_INT, .default_text = "1000", .min = 1, .max = 1000000000,
     .help = "Bytes per second at which a body must come and an answer be taken, on average."},
    {.name = "http_answer_timeout", .type = ASSAY_OPT_DURATION, .default_text = "2m", .min = 100, .max = DAY_MS,
     .help = "Longest time that a request waits for its answer."},
    {.name = "http_idle_timeout", .type = ASSAY_OPT_DURATION, .default_text = "75s", .min = 100, .max = DAY_MS,
     .help = "How long an idle connection is kept."},
    {.name = "http_plain", .type = ASSAY_OPT_BOOL, .default_text = "true",
     .help = "Listen for HTTP without TLS, on http_address and http_port; false, where tls_cert_file is set: only TLS is spoken."},
    {.name = "tls_cert_file", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "File (PEM) with the server's certificate, followed by those between it and the authority; with tls_key_file it makes the "
             "server listen for TLS. Read again on SIGHUP."},
    {.name = "tls_key_file", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "File (PEM) with its private key, without a passphrase, readable by the server's user and nobody else. Read again on SIGHUP."},
    {.name = "tls_address", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Address to listen on for TLS; 0.0.0.0 or :: for all. Empty: http_address."},
    {.name = "tls_port", .type = ASSAY_OPT_INT, .default_text = "8443", .min = 0, .max = 65535,
     .help = "Port to listen on for TLS; 0 takes a free one and writes it to <data_dir>/run/tls_url."},
    {.name = "tls_min_version", .type = ASSAY_OPT_CHOICE, .default_text = "1.2", .choices = "1.2|1.3",
     .help = "Oldest version of TLS that is spoken."},
    {.name = "tls_session_tickets", .type = ASSAY_OPT_BOOL, .default_text = "true",
     .help = "Clients may resume a session without a full handshake, until the server restarts or its certificate is read again."},
    {.name = "tls_hsts", .type = ASSAY_OPT_DURATION, .default_text = "0", .min = 0, .max = 4000 * DAY_MS,
     .help = "Answers over TLS tell browsers for how long to use nothing but TLS with this host (Strict-Transport-Security), such as "
             "4320h; 0 tells them nothing."},
    {.name = "cors_origins", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Origins that browsers may call from, separated by commas; * for any, never with credentials; localhost for any "
             "port of this machine, which is the default in development."},
    {.name = "trusted_proxies", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Addresses and networks (10.0.0.0/8, ::1) of proxies whose word about the client's address is taken, separated by "
             "commas."},
    {.name = "trusted_proxy_header", .type = ASSAY_OPT_CHOICE, .default_text = "x-forwarded-for", .choices = "x-forwarded-for|forwarded",
     .help = "The header that those proxies write; another one is ignored, since a client may have sent it."},
    {.name = "public_url", .env = "PUBLIC_URL", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Where people reach this server, such as https://assay.example.org: links in mail begin with it. Empty, in development: "
             "http_address and http_port."},
    {.name = "smtp_url", .env = "SMTP_URL", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Mail server, smtp://HOST:PORT or smtps://HOST:PORT; with it people sign in by mailed links."},
    {.name = "rate_limits", .type = ASSAY_OPT_STRING, .default_text = "auto",
     .help = "How often one may ask: rules SUBJECT[:OPERATION]=COUNT/WINDOW, separated by commas, SUBJECT being address, account or agent, "
             "such as account:submissions_create=500/24h; empty: no bounds; auto: none in development, elsewhere "
             ASSAY_LIMITS_USUAL "."},
    {.name = "rate_limit_exempt", .type = ASSAY_OPT_STRING, .default_text = "127.0.0.0/8,::1",
     .help = "Addresses and networks that rate limits by address do not count, separated by commas."},
    {.name = "rate_limit_gateways", .type = ASSAY_OPT_INT, .default_text = "1", .min = 1, .max = 1000,
     .help = "How many gateways share one budget: while each counts for itself (without Redis, or while Redis is away) a rule lets this part of its "
             "count through at each."},
    {.name = "metrics_public", .type = ASSAY_OPT_BOOL, .default_text = "true",
     .help = "Serve /metrics to anyone; otherwise only to callers on this machine."},
    {.name = "otel_exporter_otlp_endpoint", .env = "OTEL_EXPORTER_OTLP_ENDPOINT", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "A collector of OpenTelemetry, such as http://127.0.0.1:4318: traces and metrics are sent there by OTLP/HTTP. Empty: nowhere."},
    {.name = "otel_exporter_otlp_traces_endpoint", .env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", .type = ASSAY_OPT_STRING,
     .default_text = "", .help = "The whole URL for traces, if it is another."},
    {.name = "otel_exporter_otlp_metrics_endpoint", .env = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", .type = ASSAY_OPT_STRING,
     .default_text = "", .help = "The whole URL for metrics, if it is another."},
    {.name = "otel_exporter_otlp_protocol", .env = "OTEL_EXPORTER_OTLP_PROTOCOL", .type = ASSAY_OPT_STRING, .default_text = "http/protobuf",
     .help = "How the collector is spoken to: http/protobuf or http/json."},
    {.name = "otel_exporter_otlp_traces_protocol", .env = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "The same for traces, if it is another."},
    {.name = "otel_exporter_otlp_metrics_protocol", .env = "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "The same for metrics, if it is another."},
    {.name = "otel_exporter_otlp_compression", .env = "OTEL_EXPORTER_OTLP_COMPRESSION", .type = ASSAY_OPT_STRING, .default_text = "none",
     .help = "gzip compresses what is sent; none does not."},
    {.name = "otel_exporter_otlp_traces_compression", .env = "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "The same for traces, if it is another."},
    {.name = "otel_exporter_otlp_metrics_compression", .env = "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", .type = ASSAY_OPT_STRING,
     .default_text = "", .help = "The same for metrics, if it is another."},
    {.name = "otel_exporter_otlp_headers", .env = "OTEL_EXPORTER_OTLP_HEADERS", .type = ASSAY_OPT_STRING, .default_text = "",
     .flags = ASSAY_OPT_SECRET, .help = "Headers for the collector: name=value,name=value, percent-encoded."},
    {.name = "otel_exporter_otlp_traces_headers", .env = "OTEL_EXPORTER_OTLP_TRACES_HEADERS", .type = ASSAY_OPT_STRING, .default_text = "",
     .flags = ASSAY_OPT_SECRET, .help = "The same for traces, if they are others."},
    {.name = "otel_exporter_otlp_metrics_headers", .env = "OTEL_EXPORTER_OTLP_METRICS_HEADERS", .type = ASSAY_OPT_STRING, .default_text = "",
     .flags = ASSAY_OPT_SECRET, .help = "The same for metrics, if they are others."},
    {.name = "otel_exporter_otlp_certificate", .env = "OTEL_EXPORTER_OTLP_CERTIFICATE", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "File with the authorities that may vouch for an https collector. Empty: the system's."},
    {.name = "otel_exporter_otlp_traces_certificate", .env = "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", .type = ASSAY_OPT_STRING,
     .default_text = "", .help = "The same for traces, if it is another."},
    {.name = "otel_exporter_otlp_metrics_certificate", .env = "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", .type = ASSAY_OPT_STRING,
     .default_text = "", .help = "The same for metrics, if it is another."},
    {.name = "otel_exporter_otlp_timeout", .env = "OTEL_EXPORTER_OTLP_TIMEOUT", .type = ASSAY_OPT_DURATION, .default_text = "10s",
     .min = 10, .max = 600000, .bare_unit_ms = 1, .help = "Longest time for one request to the collector; a bare number counts milliseconds."},
    {.name = "otel_exporter_otlp_traces_timeout", .env = "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", .type = ASSAY_OPT_DURATION, .default_text = "0",
     .max = 600000, .bare_unit_ms = 1, .help = "The same for traces; 0: no other."},
    {.name = "otel_exporter_otlp_metrics_timeout", .env = "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", .type = ASSAY_OPT_DURATION, .default_text = "0",
     .max = 600000, .bare_unit_ms = 1, .help = "The same for metrics; 0: no other."},
    {.name = "otel_service_name", .env = "OTEL_SERVICE_NAME", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "The name of this service in traces and metrics. Empty: assay."},
    {.name = "otel_resource_attributes", .env = "OTEL_RESOURCE_ATTRIBUTES", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "More about this process for the collector: deployment.environment=exam,host.name=a1."},
    {.name = "otel_traces_exporter", .env = "OTEL_TRACES_EXPORTER", .type = ASSAY_OPT_CHOICE, .default_text = "otlp", .choices = "otlp|none",
     .help = "none sends no traces."},
    {.name = "otel_metrics_exporter", .env = "OTEL_METRICS_EXPORTER", .type = ASSAY_OPT_CHOICE, .default_text = "otlp", .choices = "otlp|none",
     .help = "none sends no metrics; /metrics answers all the same."},
    {.name = "otel_sdk_disabled", .env = "OTEL_SDK_DISABLED", .type = ASSAY_OPT_BOOL, .default_text = "false",
     .help = "Send nothing, whatever else is said."},
    {.name = "otel_traces_sampler", .env = "OTEL_TRACES_SAMPLER", .type = ASSAY_OPT_STRING, .default_text = "parentbased_always_on",
     .help = "Which traces are kept: [parentbased_]always_on, _always_off or _traceidratio; parentbased ones do as the request says, if it does."},
    {.name = "otel_traces_sampler_arg", .env = "OTEL_TRACES_SAMPLER_ARG", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "The share that traceidratio keeps, from 0 to 1."},
    {.name = "otel_bsp_schedule_delay", .env = "OTEL_BSP_SCHEDULE_DELAY", .type = ASSAY_OPT_DURATION, .default_text = "5s", .min = 10,
     .max = 600000, .bare_unit_ms = 1, .help = "Longest time that a span waits for others to be sent with; a bare number counts milliseconds."},
    {.name = "otel_bsp_max_queue_size", .env = "OTEL_BSP_MAX_QUEUE_SIZE", .type = ASSAY_OPT_INT, .default_text = "2048", .min = 1,
     .max = 1048576, .help = "Most spans that wait for the collector; more are dropped and counted."},
    {.name = "otel_bsp_max_export_batch_size", .env = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", .type = ASSAY_OPT_INT, .default_text = "512",
     .min = 1, .max = 65536, .help = "Most spans of one request."},
    {.name = "otel_metric_export_interval", .env = "OTEL_METRIC_EXPORT_INTERVAL", .type = ASSAY_OPT_DURATION, .default_text = "60s",
     .min = 100, .max = 3600000, .bare_unit_ms = 1, .help = "Time between two reports of the metrics; a bare number counts milliseconds."},

    {.name = "jwt_signing_secret", .env = "JWT_SIGNING_SECRET", .type = ASSAY_OPT_STRING, .default_text = "",
     .flags = ASSAY_OPT_SECRET,
     .help = "Signs access tokens; at least 32 bytes outside development. Empty: a random one, made once and kept in "
             "<data_dir>/jwt.secret."},
    {.name = "jwt_previous_secrets", .env = "JWT_PREVIOUS_SECRETS", .type = ASSAY_OPT_STRING, .default_text = "",
     .flags = ASSAY_OPT_SECRET,
     .help = "Secrets that sign no more and are still believed, separated by commas, newest first."},
    {.name = "jwt_secrets_file", .env = "JWT_SECRETS_FILE", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "File with the signing secrets instead, one on each line, SECRET or KID SECRET: the first signs, all are believed; read "
             "again on SIGHUP."},
    {.name = "workers", .type = ASSAY_OPT_INT, .default_text = "0", .min = 0, .max = 256,
     .help = "Threads for blocking work; 0 takes four for each processor, at least 8, at most 64."},
    {.name = "worker_queue", .type = ASSAY_OPT_INT, .default_text = "4096", .min = 1, .max = 1048576,
     .help = "Most requests and deliveries that wait for a worker; more are refused."},
    {.name = "queue_buffer_size", .env = "QUEUE_BUFFER_SIZE", .type = ASSAY_OPT_INT, .default_text = "100", .min = 1,
     .max = 1048576, .help = "Places on each ring of the in-process queue."},
    {.name = "storage_dsn", .env = "STORAGE_DSN,DATABASE_URL", .type = ASSAY_OPT_STRING, .default_text = "",
     .flags = ASSAY_OPT_SECRET,
     .help = "Database: empty or sqlite:///path for SQLite (assay.db in the data directory), postgresql://... for PostgreSQL."},
    {.name = "db_host", .env = "DB_HOST", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "PostgreSQL's host, where storage_dsn is empty: the older way, with the four that follow."},
    {.name = "db_port", .env = "DB_PORT", .type = ASSAY_OPT_INT, .default_text = "5432", .min = 1, .max = 65535, .help = "Its port."},
    {.name = "db_username", .env = "DB_USERNAME", .type = ASSAY_OPT_STRING, .default_text = "", .help = "The user to log in as."},
    {.name = "db_password", .env = "DB_PASSWORD", .type = ASSAY_OPT_STRING, .default_text = "", .flags = ASSAY_OPT_SECRET,
     .help = "That user's password."},
    {.name = "db_name", .env = "DB_NAME", .type = ASSAY_OPT_STRING, .default_text = "", .help = "The database."},
    {.name = "store_readers", .type = ASSAY_OPT_INT, .default_text = "8", .min = 1, .max = 256,
     .help = "Most database connections for reading; one more is for writing."},
    {.name = "store_group", .type = ASSAY_OPT_INT, .default_text = "256", .min = 1, .max = 256,
     .help = "Most transactions in one durable commit."},
    {.name = "store_queue", .type = ASSAY_OPT_INT, .default_text = "4096", .min = 16, .max = 1 << 20,
     .help = "Most transactions that wait for the writer; more are refused."},
    {.name = "events_keep", .type = ASSAY_OPT_INT, .default_text = "1000000", .min = 0, .max = (int64_t)1 << 40,
     .help = "How many events are kept; 0 for no bound. What a durable subscription has not seen is always kept."},
    {.name = "events_keep_age", .type = ASSAY_OPT_DURATION, .default_text = "720h", .min = 0, .max = (int64_t)1 << 50,
     .help = "How long events are kept; 0 for no bound. What a durable subscription has not seen is always kept."},
    {.name = "blob_driver", .type = ASSAY_OPT_STRING, .default_text = "fs", .help = "Driver that keeps blobs: fs (files) or s3."},
    {.name = "aws_region", .env = "AWS_REGION,AWS_DEFAULT_REGION", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Region of the bucket and the queues, such as eu-west-1."},
    {.name = "aws_endpoint_url", .env = "AWS_ENDPOINT_URL", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Where S3 and SQS are, if not at Amazon: http://HOST:PORT; s3_endpoint_url and sqs_endpoint_url go before it."},
    {.name = "aws_ca_bundle", .env = "AWS_CA_BUNDLE", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "File with the certificates that S3's and SQS's are checked by; empty for the system's."},
    {.name = "intake", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Brokers that this process takes work from and answers to, separated by commas: kafka, amqp, sqs, http. Empty: none."},
    {.name = "gateway", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "URL of the gateway that this process takes work from as a runner, over HTTP leases; sets intake to http where that is empty."},
    {.name = "dispatch", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Broker that submissions to benchmarks go out through, to be judged by other processes. Empty: by this one's runner and "
             "by remote runners over HTTP."},
    {.name = "dispatch_tasks", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Broker that POST /task goes out through. Empty: as submissions to benchmarks do."},
    {.name = "dispatch_projects", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Broker that projects go out through, with S3 for their files. Empty: they are judged here."},
    {.name = "broker_strict", .type = ASSAY_OPT_BOOL, .default_text = "false",
     .help = "Say in results through brokers only what consumers of the older worker know: RE becomes WA, or OK where the output "
             "matches or there are no tests; OL becomes WA; IE an error without status."},
    {.name = "script_expected", .env = "SCRIPT_EXPECTED", .type = ASSAY_OPT_INT, .default_text = "0", .min = 0, .max = (int64_t)1 << 50,
     .help = "Stop with exit status 0 after so many results have been published; 0 never."},
    {.name = "script_done", .type = ASSAY_OPT_CHOICE, .default_text = "auto", .choices = "auto|exit|ignore",
     .help = "What a message {\"type\":\"done\"} does: exit answers what is held and stops with exit status 0; auto does so where this "
             "process is only a worker (only is set)."},
    {.name = "session_driver", .type = ASSAY_OPT_CHOICE, .default_text = "store", .choices = "store|redis",
     .help = "Where gateways look up the accounts of tokens: each time in the store, or first in a Redis that they share."},
    {.name = "session_fallback", .type = ASSAY_OPT_CHOICE, .default_text = "store", .choices = "store|refuse",
     .help = "While Redis is away: store asks the store instead; refuse answers 503 to tokens that were not seen in the last second."},
    {.name = "sandbox", .type = ASSAY_OPT_STRING, .default_text = "auto", .help = "Sandbox driver: auto, native or docker; reduced: boxes without namespaces, where nothing better is to be had."},
};
#define N_CORE (sizeof core_rows / sizeof core_rows[0])

/* Where the program was installed: what stands before the compiled-in BINDIR in its own path, so that a
 * tree installed with DESTDIR works where it lies. */
static void install_root(char *root, size_t room)
{
    static const char bindir[] = ASSAY_BINDIR "/";
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    root[0] = '\0';
    if (n <= 0)
        return;
    exe[n] = '\0';
    char *slash = strrchr(exe, '/');
    slash[1] = '\0';
    size_t len = strlen(exe), tail = sizeof bindir - 1;
    if (len >= tail && strcmp(exe + len - tail, bindir) == 0 && len - tail < room) {
        memcpy(root, exe, len - tail);
        root[len - tail] = '\0';
    }
}

static char *format(const char *fmt, ...) ASSAY_PRINTF(1, 2);
static char *format(const char *fmt, ...)
{
    char *out = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&out, fmt, ap);
    va_end(ap);
    return n < 0 ? NULL : out;
}

static char *default_data_dir(void)
{
    const char *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (geteuid() == 0)
        return format("/var/lib/assay");
    if (xdg != NULL && xdg[0] == '/')
        return format("%s/assay", xdg);
    if (home != NULL && home[0] == '/')
        return format("%s/.local/share/assay", home);
    return format("/var/lib/assay");
}

int assay_setup_core(struct assay_setup *s, struct assay_err *err)
{
    char root[PATH_MAX];
    memset(s, 0, sizeof *s);
    assay_plugins_init(&s->plugins);
    s->config = assay_config_new();
    s->core = calloc(N_CORE, sizeof *s->core);
    if (s->config == NULL || s->core == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
    install_root(root, sizeof root);
    char *file = format("%s%s/assay.ini", root, ASSAY_SYSCONFDIR);
    if (file != NULL && access(file, F_OK) != 0)
        file[0] = '\0';
    s->text[T_CONFIG] = file;
    s->text[T_DATA_DIR] = default_data_dir();
    s->text[T_PLUGIN_PATH] = format("%s%s", root, ASSAY_PLUGINSDIR);
    s->text[T_LIBEXEC_DIR] = format("%s%s", root, ASSAY_LIBEXECDIR);
    s->text[T_SHARE_DIR] = format("%s%s", root, ASSAY_SHAREDIR);
    static const char *const names[T_END] = {"config", "data_dir", "plugin_path", "libexec_dir", "share_dir"};
    memcpy(s->core, core_rows, sizeof core_rows);
    for (int t = 0; t < T_END; t++) {
        if (s->text[t] == NULL)
            return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
        for (size_t i = 0; i < N_CORE; i++)
            if (strcmp(s->core[i].name, names[t]) == 0)
                s->core[i].default_text = s->text[t];
    }
    struct assay_table table = {s->core, (uint32_t)N_CORE, (uint32_t)sizeof *s->core};
    return assay_config_add(s->config, "core", &table, err);
}

/* The names in an option that says which brokers, each once, as plugins are called. */
static int brokers_of(struct assay_setup *s, const char *option, bool many, struct assay_err *err)
{
    const char *p = assay_config_str(s->config, option);
    for (size_t named = 0; *p != '\0'; named++) {
        size_t n = strcspn(p += strspn(p, ", "), ", ");
        if (n == 0)
            break;
        if (named > 0 && !many)
            return assay_err_set(err, ASSAY_E_CONFIG, "%s (%s) names one broker, not several", option, assay_config_origin(s->config, option));
        char name[72];
        size_t i = 0;
        if (n > 50 || strspn(p, "abcdefghijklmnopqrstuvwxyz0123456789_") < n)
            return assay_err_set(err, ASSAY_E_CONFIG, "%s (%s): \"%.*s\" is no name of a broker", option,
                                 assay_config_origin(s->config, option), (int)(n > 60 ? 60 : n), p);
        (void)snprintf(name, sizeof name, "broker_%.*s", (int)n, p);
        while (i < s->n_brokers && strcmp(s->broker[i], name) != 0)
            i++;
        if (i == ASSAY_SETUP_BROKERS)
            return assay_err_set(err, ASSAY_E_CONFIG, "at most %d brokers can be used", ASSAY_SETUP_BROKERS);
        if (i == s->n_brokers)
            memcpy(s->broker[s->n_brokers++], name, sizeof name);
        p += n;
    }
    return 0;
}

static int brokers(struct assay_setup *s, struct assay_err *err)
{
    s->n_brokers = 0;
    if (assay_config_str(s->config, "gateway")[0] != '\0' && assay_config_str(s->config, "intake")[0] == '\0') {
        int set = assay_config_set(s->config, "intake", "http", "gateway", err);
        if (set != 0)
            return set;
    }
    int rc = brokers_of(s, "intake", true, err);
    if (rc == 0)
        rc = brokers_of(s, "dispatch", false, err);
    if (rc == 0)
        rc = brokers_of(s, "dispatch_tasks", false, err);
    return rc != 0 ? rc : brokers_of(s, "dispatch_projects", false, err);
}

/* The files themselves are read by the server, which has to be able to. */
static int tls(struct assay_setup *s, struct assay_err *err)
{
    const char *cert = assay_config_str(s->config, "tls_cert_file"), *key = assay_config_str(s->config, "tls_key_file");
    if ((cert[0] == '\0') != (key[0] == '\0'))
        return assay_err_set(err, ASSAY_E_CONFIG, "%s is set and %s is not: TLS needs both, the certificate and its key",
                             cert[0] != '\0' ? "tls_cert_file" : "tls_key_file", cert[0] != '\0' ? "tls_key_file" : "tls_cert_file");
    if (cert[0] != '\0' && !assay_tls_built())
        return assay_err_set(err, ASSAY_E_CONFIG, "tls_cert_file (%s) is set, and this assayd was built without TLS: leave it empty and put a proxy in "
                             "front, or build with OpenSSL (Debian: apt-get install libssl-dev, then configure without --without-tls)",
                             assay_config_origin(s->config, "tls_cert_file"));
    if (cert[0] == '\0' && assay_config_int(s->config, "http_plain") == 0)
        return assay_err_set(err, ASSAY_E_CONFIG, "http_plain (%s) is false and there is no TLS either: set tls_cert_file and tls_key_file",
                             assay_config_origin(s->config, "http_plain"));
    if (cert[0] != '\0' && assay_config_int(s->config, "http_plain") != 0 && assay_config_int(s->config, "tls_port") != 0 &&
        assay_config_int(s->config, "tls_port") == assay_config_int(s->config, "http_port"))
        return assay_err_set(err, ASSAY_E_CONFIG, "tls_port and http_port are both %lld: give TLS another port, or set http_plain = false",
                             (long long)assay_config_int(s->config, "tls_port"));
    return 0;
}

/* Rules that concern more than one option. */
static int cross_check(struct assay_setup *s, struct assay_err *err)
{
    const char *dsn = assay_config_str(s->config, "storage_dsn");
    const char *blobs = assay_config_str(s->config, "blob_driver");
    const char *secret = assay_config_str(s->config, "jwt_signing_secret");
    bool development = strcmp(assay_config_str(s->config, "app_env"), "development") == 0;

    if (assay_str_starts(assay_str(dsn), "postgresql://") || assay_str_starts(assay_str(dsn), "postgres://"))
        s->store = "store_postgres";
    else if (dsn[0] == '\0' && assay_config_str(s->config, "db_host")[0] != '\0')
        s->store = "store_postgres";
    else if (assay_str_starts(assay_str(dsn), "memory:"))
        return assay_err_set(err, ASSAY_E_CONFIG,
                             "storage_dsn (%s): there is no store that keeps nothing; leave it empty for SQLite in the "
                             "data directory",
                             assay_config_origin(s->config, "storage_dsn"));
    else
        s->store = "store_sqlite";
    if (brokers(s, err) != 0)
        return ASSAY_E_CONFIG;
    if (tls(s, err) != 0)
        return ASSAY_E_CONFIG;
    if (strcmp(blobs, "fs") == 0)
        s->blobs = "blob_fs";
    else if (strcmp(blobs, "s3") == 0)
        s->blobs = "blob_s3";
    else
        return assay_err_set(err, ASSAY_E_CONFIG, "blob_driver must be fs or s3, not \"%.64s\"", blobs);
    size_t n = 0;
    s->driver[n++] = s->store;
    s->driver[n++] = s->blobs;
    s->sessions = strcmp(assay_config_str(s->config, "session_driver"), "redis") == 0 ? "session_redis" : NULL;
    if (s->sessions != NULL)
        s->driver[n++] = s->sessions;
    s->mail = assay_config_str(s->config, "smtp_url")[0] != '\0' ? "mail_smtp" : NULL;
    if (s->mail != NULL)
        s->driver[n++] = s->mail;
    for (size_t i = 0; i < s->n_brokers; i++)
        s->driver[n++] = s->broker[i];
    s->driver[n] = NULL;
    if (!development && secret[0] != '\0' && strcmp(secret, "dev-secret") == 0)
        return assay_err_set(err, ASSAY_E_CONFIG,
                             "jwt_signing_secret (%s) is dev-secret, which anyone knows: set one of 32 bytes or more, or "
                             "leave it empty for a random one",
                             assay_config_origin(s->config, "jwt_signing_secret"));
    if (!development && secret[0] != '\0' && strlen(secret) < 32)
        return assay_err_set(err, ASSAY_E_CONFIG,
                             "jwt_signing_secret (%s) has %zu bytes and needs at least 32 outside development; leave it "
                             "empty for a random one",
                             assay_config_origin(s->config, "jwt_signing_secret"), strlen(secret));
    if (secret[0] == '\0' && assay_config_str(s->config, "jwt_previous_secrets")[0] != '\0')
        return assay_err_set(err, ASSAY_E_CONFIG, "jwt_previous_secrets needs jwt_signing_secret, the one that signs; secrets of a file stand "
                                                  "in the file, one on each line");
    if (secret[0] != '\0' && assay_config_str(s->config, "jwt_secrets_file")[0] != '\0')
        return assay_err_set(err, ASSAY_E_CONFIG, "jwt_signing_secret and jwt_secrets_file are both set: take one of them");
    struct assay_proxies *proxies = NULL;
    int rc = assay_proxies_new(assay_config_str(s->config, "trusted_proxies"), &proxies, err);
    assay_proxies_free(proxies);
    if (rc != 0)
        return rc;
    const char *url = assay_config_str(s->config, "public_url");
    if (url[0] != '\0' && ((strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0) || url[strlen(url) - 1] == '/'))
        return assay_err_set(err, ASSAY_E_CONFIG, "public_url must begin with http:// or https:// and have no slash at its end");
    if (url[0] == '\0' && assay_config_str(s->config, "smtp_url")[0] != '\0')
        return assay_err_set(err, ASSAY_E_CONFIG, "smtp_url needs public_url, which the links in mail begin with");
    if (assay_config_str(s->config, "data_dir")[0] == '\0')
        return assay_err_set(err, ASSAY_E_CONFIG, "data_dir is empty");
    return 0;
}

/* needed: only what the server that will run has a use for; otherwise all, for their options. */
static int load(struct assay_setup *s, bool needed, struct assay_err *err)
{
    int rc = assay_plugins_add(&s->plugins, &assay_core_plugin, "built in", err);
    if (rc == 0)
        rc = assay_plugins_load(&s->plugins, assay_config_str(s->config, "plugin_path"), needed ? s->driver : NULL, err);
    if (rc == 0)
        rc = assay_plugins_config(&s->plugins, s->config, err);
    return rc;
}

/* Children run with other working directories in mind: paths are made absolute once. */
static int absolute(struct assay_setup *s, const char *name, struct assay_err *err)
{
    const char *path = assay_config_str(s->config, name);
    char cwd[PATH_MAX], joined[PATH_MAX * 2];
    if (path[0] == '/' || path[0] == '\0')
        return 0;
    if (getcwd(cwd, sizeof cwd) == NULL)
        return assay_err_errno(err, ASSAY_E_IO, errno, "cannot find the working directory");
    (void)snprintf(joined, sizeof joined, "%s/%s", cwd, path);
    char origin[600];
    (void)snprintf(origin, sizeof origin, "%.590s", assay_config_origin(s->config, name));
    return assay_config_set(s->config, name, joined, origin, err);
}

int assay_setup_resolve(struct assay_setup *s, char *const *flags, char *const *env, struct assay_err *err)
{
    struct assay_config_input in = {.flags = flags, .env = env, .lenient = true};
    /* A fault found here is found again below, together with those of the plugins' options. */
    int rc = assay_config_resolve(s->config, &in, err);
    if (rc == 0 || rc == ASSAY_E_CONFIG)
        rc = load(s, false, err);
    if (rc != 0)
        return rc;
    in.lenient = false;
    rc = assay_config_resolve(s->config, &in, err);
    if (rc == 0)
        rc = cross_check(s, err);
    if (rc == 0)
        rc = absolute(s, "data_dir", err);
    if (rc == 0)
        rc = absolute(s, "libexec_dir", err);
    if (rc == 0)
        rc = absolute(s, "share_dir", err);
    if (rc == 0)
        rc = absolute(s, "tls_cert_file", err);
    if (rc == 0)
        rc = absolute(s, "tls_key_file", err);
    return rc;
}

int assay_setup_adopt(struct assay_setup *s, const struct assay_options *o, struct assay_err *err)
{
    const char *path = assay_options_str(o, "plugin_path");
    int rc = path == NULL ? assay_err_set(err, ASSAY_E_CONFIG, "the supervisor sent no plugin_path")
                          : assay_config_set(s->config, "plugin_path", path, "supervisor", err);
    /* the core's options first: they say which store it is */
    if (rc == 0)
        rc = assay_config_take(s->config, o, err);
    if (rc == 0)
        rc = cross_check(s, err);
    if (rc == 0)
        rc = load(s, true, err);
    if (rc == 0)
        rc = assay_config_take(s->config, o, err);
    return rc;
}

/* In the process that has loaded them all, the message can name those that there are. */
static int brokers_known(struct assay_setup *s, struct assay_err *err)
{
    for (size_t i = 0; i < s->n_brokers; i++) {
        const struct assay_plugin_entry *e = assay_plugins_find(&s->plugins, s->broker[i]);
        if (e != NULL && e->p->kind == ASSAY_PLUGIN_BROKER)
            continue;
        char there[200] = "";
        size_t n = 0;
        for (size_t k = 0; k < s->plugins.n && n < sizeof there; k++) {
            const struct assay_plugin *p = s->plugins.entry[k]->p;
            if (p->kind == ASSAY_PLUGIN_BROKER && strncmp(p->name, "broker_", 7) == 0) {
                int w = snprintf(there + n, sizeof there - n, "%s%s", n != 0 ? ", " : "", p->name + 7);
                n += w > 0 ? (size_t)w : 0;
            }
        }
        return assay_err_set(err, ASSAY_E_CONFIG, "there is no broker driver %s, which intake, dispatch, dispatch_tasks or dispatch_projects names; there %s: %s",
                             s->broker[i] + 7, n != 0 ? "are" : "is", n != 0 ? there : "none");
    }
    return 0;
}

/* Messages that are taken and never judged would only be kept from those who can. */
static int intake_judged(struct assay_setup *s, struct assay_err *err)
{
    const struct assay_plugin_entry *r = assay_plugins_find(&s->plugins, "runner");
    if (assay_config_str(s->config, "intake")[0] == '\0' || (r != NULL && r->selected))
        return 0;
    return assay_err_set(err, ASSAY_E_CONFIG, "intake (%s) brings work, and this process has no runner to judge it: add runner to only, or leave intake empty",
                         assay_config_origin(s->config, "intake"));
}

int assay_setup_plugins(struct assay_setup *s, struct assay_err *err)
{
    int rc = assay_plugins_validate(&s->plugins, err);
    if (rc == 0)
        rc = brokers_known(s, err);
    if (rc == 0)
        rc = assay_plugins_select(&s->plugins, assay_config_str(s->config, "only"), s->driver, err);
    if (rc != 0)
        return rc;
    assay_plugins_complete(&s->plugins);
    rc = intake_judged(s, err);
    if (rc != 0)
        return rc;
    const struct assay_plugin_entry *store = assay_plugins_find(&s->plugins, s->store);
    const struct assay_plugin_entry *blobs = assay_plugins_find(&s->plugins, s->blobs);
    if (store->p->kind != ASSAY_PLUGIN_STORE)
        return assay_err_set(err, ASSAY_E_CONFIG, "plugin %s (%s) is not a store driver", s->store, store->path);
    if (blobs->p->kind != ASSAY_PLUGIN_BLOB)
        return assay_err_set(err, ASSAY_E_CONFIG, "plugin %s (%s) is not a blob driver", s->blobs, blobs->path);
    return assay_plugins_order(&s->plugins, err);
}

void assay_setup_free(struct assay_setup *s)
{
    assay_config_free(s->config);
    assay_plugins_free(&s->plugins);
    free(s->core);
    for (size_t i = 0; i < sizeof s->text / sizeof s->text[0]; i++)
        free(s->text[i]);
    memset(s, 0, sizeof *s);
}

int assay_setup_identity(const char *server_user, uid_t *uid, gid_t *gid, struct assay_err *err)
{
    if (geteuid() != 0) {
        *uid = geteuid();
        *gid = getegid();
        if (server_user[0] != '\0')
            return assay_err_set(err, ASSAY_E_CONFIG, "server_user is %s, and only root can become another user",
                                 server_user);
        return 0;
    }
    const struct passwd *pw = getpwnam(server_user[0] != '\0' ? server_user : "assay");
    int64_t number;
    if (pw != NULL) {
        *uid = pw->pw_uid;
        *gid = pw->pw_gid;
    } else if (server_user[0] == '\0') {
        *uid = 65534;
        *gid = 65534;
    } else if (assay_parse_i64(assay_str(server_user), 0, INT32_MAX, &number, NULL) == 0) {
        *uid = (uid_t)number;
        *gid = (gid_t)number;
    } else {
        return assay_err_set(err, ASSAY_E_CONFIG, "server_user: there is no account %s", server_user);
    }
    if (*uid == 0)
        return assay_err_set(err, ASSAY_E_CONFIG, "server_user must not be root: the server holds no privilege");
    return 0;
}

struct assay_tls_config assay_setup_tls(const struct assay_config *c)
{
    return (struct assay_tls_config){.cert_file = assay_config_str(c, "tls_cert_file"),
                                     .key_file = assay_config_str(c, "tls_key_file"),
                                     .min_version = assay_config_str(c, "tls_min_version"),
                                     .tickets = assay_config_int(c, "tls_session_tickets") != 0};
}

int64_t assay_setup_descriptors(const struct assay_config *c, bool raise)
{
    rlim_t need = (rlim_t)assay_config_int(c, "http_connections_max") + ASSAY_SETUP_OTHER_DESCRIPTORS;
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return 1024;
    if (raise && r.rlim_cur < need) {
        struct rlimit want = {need, r.rlim_max < need ? need : r.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &want) != 0) {
            /* without the privilege (or over fs.nr_open): as far as it goes */
            want = (struct rlimit){r.rlim_max < need ? r.rlim_max : need, r.rlim_max};
            (void)!setrlimit(RLIMIT_NOFILE, &want);
        }
        if (getrlimit(RLIMIT_NOFILE, &r) != 0)
            return 1024;
    }
    /* not raised: what a raise would reach */
    rlim_t most = raise ? r.rlim_cur : r.rlim_max;
    return most == RLIM_INFINITY || most > INT32_MAX ? INT32_MAX : (int64_t)most;
}

unsigned assay_setup_loops(int64_t configured)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    if (configured > 0)
        return (unsigned)configured;
    return n < 1 ? 1 : n > 4 ? 4 : (unsigned)n;
}
