/* S3's answers: whatever comes, reading ends, and what is taken out is a text of its field's length without control characters. */
#include <string.h>

#include "fuzz.h"
#include "plugins/blob_s3/local.h"

static bool count(void *arg, const char *path, struct assay_str text)
{
    size_t *n = arg;
    FUZZ_CHECK(path[0] != '\0' && strlen(path) < 512 && text.n <= 65536);
    return ++*n < 100000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct assay_str xml = {(const char *)data, size};
    char code[64] = "x", message[256] = "y", id[100];
    size_t n = 0;
    int rc = bs_xml_read(xml, count, &n, NULL);
    FUZZ_CHECK(rc == 0 || rc == ASSAY_E_CORRUPT);
    bs_explain(xml, code, message);
    for (const char *c = code; *c != '\0'; c++)
        FUZZ_CHECK((unsigned char)*c >= ' ');
    FUZZ_CHECK(strlen(message) < sizeof message);
    rc = bs_xml_text(xml, "InitiateMultipartUploadResult/UploadId", id, sizeof id, NULL);
    FUZZ_CHECK(rc == ASSAY_E_CORRUPT || (rc == 0 && strlen(id) > 0));
    return 0;
}
