/*
 * Files and answers with AWS keys, and what is signed: a byte that says which, then the text.
 *
 * What must hold: keys that come out are whole words, and what is signed is one line a header.
 */
#include <ctype.h>
#include <string.h>

#include "fuzz.h"
#include "plugins/aws/aws.h"

static void check_keys(const struct aws_keys *k)
{
    const char *const all[] = {k->id, k->secret, k->token};
    for (size_t i = 0; i < 3; i++)
        for (const char *c = all[i]; *c != '\0'; c++)
            FUZZ_CHECK(isgraph((unsigned char)*c));
    FUZZ_CHECK(k->id[0] != '\0' && k->secret[0] != '\0');
}

static void sign(struct assay_str text)
{
    const struct aws_keys k = {.id = "AKID", .secret = "secret"};
    ASSAY_CLEANUP_BUF struct assay_buf target = ASSAY_BUF_INIT, lines = ASSAY_BUF_INIT;
    size_t third = text.n / 3;
    const struct assay_str part[] = {{text.p, third}, {text.p + third, third}, {text.p + 2 * third, text.n - 2 * third}};
    ASSAY_CLEANUP_BUF struct assay_buf path = ASSAY_BUF_INIT;
    assay_buf_putc(&path, '/');
    assay_buf_str(&path, part[0]);
    const struct aws_pair query[] = {{part[1], part[2]}, {part[2], part[1]}};
    const struct aws_pair header[] = {{ASSAY_STR("content-type"), part[2]}};
    const struct aws_to_sign r = {.method = "PUT", .region = "us-east-1", .service = "s3", .host = ASSAY_STR("h"), .path = assay_buf_view(&path),
                                  .query = query, .n_query = 2, .headers = header, .n_headers = 1, .payload_sha256 = AWS_UNSIGNED_PAYLOAD,
                                  .now_ms = 1369353600000};
    if (path.failed || aws_sign(&r, &k, &target, &lines, NULL) != 0)
        return;
    for (size_t i = 0; i < target.n; i++)
        FUZZ_CHECK(isgraph((unsigned char)target.p[i]));
    for (size_t i = 0; i < lines.n; i++)
        FUZZ_CHECK(lines.p[i] != '\r' && lines.p[i] != '\n');
    FUZZ_CHECK(lines.n > 0 && lines.p[lines.n - 1] == '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct aws_keys k;
    if (size == 0)
        return 0;
    struct assay_str text = {(const char *)data + 1, size - 1};
    switch (data[0] % 3) {
    case 0:
        if (aws_profile_read(text, "default", &k, NULL) == 0)
            check_keys(&k);
        break;
    case 1:
        if (aws_metadata_keys(text, &k, NULL) == 0)
            check_keys(&k);
        break;
    default:
        sign(text);
    }
    return 0;
}
