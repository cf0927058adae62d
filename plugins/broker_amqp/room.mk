# plugins/broker_amqp: RabbitMQ as a broker, optional. Includes the sdk and rabbitmq-c, nothing else.
BROKER_AMQP_FILES = plugins/broker_amqp/local.h plugins/broker_amqp/conn.c plugins/broker_amqp/in.c plugins/broker_amqp/link.c \
	plugins/broker_amqp/message.c plugins/broker_amqp/out.c plugins/broker_amqp/plugin.c
EXTRA_DIST += $(BROKER_AMQP_FILES)
if HAVE_RABBITMQ
noinst_LTLIBRARIES += plugins/broker_amqp/libbroker_amqp.la
plugins_broker_amqp_libbroker_amqp_la_SOURCES = $(BROKER_AMQP_FILES)
plugins_broker_amqp_libbroker_amqp_la_CPPFLAGS = $(SDK_CPPFLAGS) $(RABBITMQ_CFLAGS)
plugins_broker_amqp_libbroker_amqp_la_CFLAGS = $(AM_CFLAGS)
plugins_broker_amqp_libbroker_amqp_la_LIBADD = $(SDK_LIBS) $(RABBITMQ_LIBS)

plugins_LTLIBRARIES += plugins/broker_amqp/assay_broker_amqp.la
plugins_broker_amqp_assay_broker_amqp_la_SOURCES =
plugins_broker_amqp_assay_broker_amqp_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_broker_amqp_assay_broker_amqp_la_LIBADD = plugins/broker_amqp/libbroker_amqp.la -lpthread
endif

# on a real RabbitMQ that broker_amqp.py starts
EXTRA_DIST += tests/unit/broker_amqp.py tests/parts/rabbitmq.py tests/unit/broker_amqp_test.c
if HAVE_CMOCKA
TESTS += tests/unit/broker_amqp.py
if HAVE_RABBITMQ
check_PROGRAMS += tests/unit/broker_amqp_test
tests_unit_broker_amqp_test_SOURCES = tests/unit/broker_amqp_test.c tests/unit/store_host.h
tests_unit_broker_amqp_test_CPPFLAGS = $(TEST_CPPFLAGS) $(RABBITMQ_CFLAGS)
tests_unit_broker_amqp_test_LDADD = plugins/broker_amqp/libbroker_amqp.la $(SDK_LIBS) $(RABBITMQ_LIBS) $(CMOCKA_LIBS) -lpthread
endif
endif
