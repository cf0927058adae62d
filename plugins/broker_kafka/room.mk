# plugins/broker_kafka: Kafka, optional. Includes the sdk and librdkafka, nothing else.
KAFKA_SOURCES = plugins/broker_kafka/local.h plugins/broker_kafka/consumer.c plugins/broker_kafka/driver.c \
	plugins/broker_kafka/ledger.c plugins/broker_kafka/plugin.c plugins/broker_kafka/producer.c \
	plugins/broker_kafka/props.c plugins/broker_kafka/rebalance.c
EXTRA_DIST += $(KAFKA_SOURCES)
if HAVE_RDKAFKA
noinst_LTLIBRARIES += plugins/broker_kafka/libbroker_kafka.la
plugins_broker_kafka_libbroker_kafka_la_SOURCES = $(KAFKA_SOURCES)
plugins_broker_kafka_libbroker_kafka_la_CPPFLAGS = $(SDK_CPPFLAGS) $(RDKAFKA_CFLAGS)
plugins_broker_kafka_libbroker_kafka_la_CFLAGS = $(AM_CFLAGS)
plugins_broker_kafka_libbroker_kafka_la_LIBADD = $(SDK_LIBS) $(RDKAFKA_LIBS)

plugins_LTLIBRARIES += plugins/broker_kafka/assay_broker_kafka.la
plugins_broker_kafka_assay_broker_kafka_la_SOURCES =
plugins_broker_kafka_assay_broker_kafka_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_broker_kafka_assay_broker_kafka_la_LIBADD = plugins/broker_kafka/libbroker_kafka.la -lpthread
endif

# a cluster of librdkafka's own that speaks Kafka's protocol, in a process of its own and with faults on command
EXTRA_DIST += tests/parts/kafka_mock.c tests/parts/kafka.py tests/parts/kafka_kit.py tests/parts/kafka/package.json tests/parts/kafka/package-lock.json \
	tests/unit/kafka.py tests/unit/kafka_test.c tests/unit/kafka_ledger_test.c
if HAVE_CMOCKA
if !TSAN
# ThreadSanitizer does not know threads that are made by thrd_create, as librdkafka makes its own, and falls over the first
TESTS += tests/unit/kafka.py
endif
if HAVE_RDKAFKA
check_PROGRAMS += tests/parts/kafka_mock tests/unit/kafka_test tests/unit/kafka_ledger_test
TESTS += tests/unit/kafka_ledger_test
tests_parts_kafka_mock_SOURCES = tests/parts/kafka_mock.c
tests_parts_kafka_mock_CPPFLAGS = $(SDK_CPPFLAGS) $(RDKAFKA_CFLAGS)
tests_parts_kafka_mock_LDADD = $(RDKAFKA_LIBS)
tests_unit_kafka_test_SOURCES = tests/unit/kafka_test.c tests/unit/store_host.h
tests_unit_kafka_test_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)/tests/unit $(RDKAFKA_CFLAGS)
tests_unit_kafka_test_LDADD = plugins/broker_kafka/libbroker_kafka.la $(SDK_LIBS) $(RDKAFKA_LIBS) $(CMOCKA_LIBS) -lpthread
tests_unit_kafka_ledger_test_SOURCES = tests/unit/kafka_ledger_test.c
tests_unit_kafka_ledger_test_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir) $(RDKAFKA_CFLAGS)
tests_unit_kafka_ledger_test_LDADD = plugins/broker_kafka/libbroker_kafka.la $(SDK_LIBS) $(RDKAFKA_LIBS) $(CMOCKA_LIBS) -lpthread
endif
endif
