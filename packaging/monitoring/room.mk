# monitoring: alert rules with their tests, and the dashboard
monitoringdir = $(pkgdatadir)/monitoring
dist_monitoring_DATA = packaging/monitoring/alerts.yml packaging/monitoring/alerts_test.yml packaging/monitoring/assay-dashboard.json
