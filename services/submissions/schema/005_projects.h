/*
 * Migration 5 of submissions, included by repo.c: projects.
 *
 * One row for each uploaded file that was confirmed: the file's key is what a repeated confirmation is known by.  submissions_keys
 * holds what upload URLs are signed with, so that every gateway on the store knows it.
 */
"CREATE TABLE submissions_projects ("
" submission_id TEXT NOT NULL PRIMARY KEY,"
" file_key TEXT NOT NULL,"
" owner_id TEXT NOT NULL,"
" pit_id TEXT NOT NULL,"
" pit_title TEXT NOT NULL);"
"CREATE UNIQUE INDEX submissions_projects_by_file ON submissions_projects (file_key);"
"CREATE INDEX submissions_projects_by_owner ON submissions_projects (owner_id, submission_id);"
"CREATE TABLE submissions_keys ("
" name TEXT NOT NULL PRIMARY KEY,"
" value TEXT NOT NULL);"
