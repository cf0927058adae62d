/* SQS's answers: whatever comes, reading ends, and what is taken out keeps its bounds; and bodies on their way to it. */
#include <string.h>

#include "fuzz.h"
#include "plugins/broker_sqs/local.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct assay_str text = {(const char *)data, size};
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    ASSAY_CLEANUP_BUF struct assay_buf body = ASSAY_BUF_INIT;
    struct bq_message *m = NULL;
    struct bq_result r[BQ_BATCH];
    struct assay_str url;
    char code[64] = "", message[256] = "", name[128], account[32];
    size_t n = 0;
    FUZZ_CHECK(arena != NULL);
    if (bq_decode_messages(text, arena, &m, &n, NULL) == 0) {
        FUZZ_CHECK(n <= BQ_BATCH);
        for (size_t i = 0; i < n; i++)
            FUZZ_CHECK(m[i].name.n > 0 && m[i].name.n <= 300 && m[i].receipt.n > 0);
    }
    if (bq_decode_batch(text, arena, 3, r, NULL) == 0)
        for (int i = 0; i < 3; i++)
            FUZZ_CHECK(r[i].index == i && !(r[i].ok && r[i].theirs));
    bq_explain(text, code, message);
    FUZZ_CHECK(strlen(code) < sizeof code && strlen(message) < sizeof message);
    if (bq_decode_redrive(text, name, account, NULL) == 0)
        FUZZ_CHECK(name[0] != '\0' && strlen(account) < sizeof account);
    (void)!bq_decode_url(text, arena, &url, NULL);
    if (bq_body(text, 65536, &body, NULL) == 0)
        FUZZ_CHECK(body.n > 0 && body.n <= 65536 && memmem(body.p, body.n, "\xef\xbf\xbf", 3) == NULL);
    return 0;
}
