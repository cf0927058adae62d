# plugins/mail_smtp: mail through an SMTP server. Includes the sdk and libcurl, nothing else.
plugins_LTLIBRARIES += plugins/mail_smtp/assay_mail_smtp.la
plugins_mail_smtp_assay_mail_smtp_la_SOURCES = plugins/mail_smtp/plugin.c
plugins_mail_smtp_assay_mail_smtp_la_CPPFLAGS = $(SDK_CPPFLAGS) $(CURL_CFLAGS)
plugins_mail_smtp_assay_mail_smtp_la_CFLAGS = $(AM_CFLAGS)
plugins_mail_smtp_assay_mail_smtp_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_mail_smtp_assay_mail_smtp_la_LIBADD = $(SDK_LIBS) $(CURL_LIBS)
