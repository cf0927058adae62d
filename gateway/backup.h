/*
 * assayd backup FOLDER and assayd restore FOLDER.
 *
 * Main thread of a process that does nothing else; both give an exit status and say on standard error what is wrong.
 */
#ifndef ASSAY_GATEWAY_BACKUP_H
#define ASSAY_GATEWAY_BACKUP_H

/* Makes the folder, which must not be there or be empty, beside a running server or a stopped one. */
int assay_backup_main(char *const *flags, char *const *env, const char *folder);
/* Fills a data directory that has no database, with no server on it. */
int assay_restore_main(char *const *flags, char *const *env, const char *folder);

#endif
