/*
 * The credentials file that Amazon's own tools share: "[name]" (in a config file "[profile name]"), then "key = value" lines.
 *
 * Not by the INI library that reads our own configuration: its lines end at 200 bytes as Debian builds it, and a session's
 * token is ten times as long.
 */
#include "aws.h"

#include <assay/value.h>

static struct assay_str trimmed(struct assay_str s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s.p++, s.n--;
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t' || s.p[s.n - 1] == '\r'))
        s.n--;
    return s;
}

static bool is_profile(struct assay_str name, const char *profile)
{
    if (assay_str_starts(name, "profile ") || assay_str_starts(name, "profile\t"))
        name = trimmed((struct assay_str){name.p + 8, name.n - 8});
    return assay_str_is(name, profile);
}

static int store(struct assay_str value, char *out, size_t room, int line, struct assay_err *err)
{
    bool good = value.n > 0 && value.n < room;
    for (size_t i = 0; i < value.n && good; i++)
        good = value.p[i] > ' ' && value.p[i] < 127;
    if (!good)
        return assay_err_set(err, ASSAY_E_INVALID, "line %d: a key or token is empty, too long or has characters that none has", line);
    memcpy(out, value.p, value.n);
    out[value.n] = '\0';
    return 0;
}

int aws_profile_read(struct assay_str text, const char *profile, struct aws_keys *out, struct assay_err *err)
{
    bool mine = false, seen = false;
    int line = 0, rc = 0;
    out->id[0] = out->secret[0] = out->token[0] = '\0';
    out->expires_ms = 0;
    for (size_t at = 0; at < text.n && rc == 0;) {
        const char *end = memchr(text.p + at, '\n', text.n - at);
        struct assay_str l = {text.p + at, end != NULL ? (size_t)(end - text.p) - at : text.n - at};
        at += l.n + 1;
        line++;
        bool nested = l.n > 0 && (l.p[0] == ' ' || l.p[0] == '\t');
        l = trimmed(l);
        if (l.n == 0 || l.p[0] == '#' || l.p[0] == ';')
            continue;
        if (l.p[0] == '[') {
            if (l.p[l.n - 1] != ']')
                return assay_err_set(err, ASSAY_E_INVALID, "line %d: a \"[\" without its \"]\"", line);
            mine = is_profile(trimmed((struct assay_str){l.p + 1, l.n - 2}), profile);
            seen = seen || mine;
            continue;
        }
        const char *eq = memchr(l.p, '=', l.n);
        if (!mine || nested) /* what is indented belongs to the setting above it */
            continue;
        if (eq == NULL)
            return assay_err_set(err, ASSAY_E_INVALID, "line %d: neither \"[profile]\" nor \"name = value\"", line);
        struct assay_str key = trimmed((struct assay_str){l.p, (size_t)(eq - l.p)});
        struct assay_str value = trimmed((struct assay_str){eq + 1, l.n - (size_t)(eq - l.p) - 1});
        if (assay_str_ieq(key, "aws_access_key_id"))
            rc = store(value, out->id, sizeof out->id, line, err);
        else if (assay_str_ieq(key, "aws_secret_access_key"))
            rc = store(value, out->secret, sizeof out->secret, line, err);
        else if (assay_str_ieq(key, "aws_session_token"))
            rc = store(value, out->token, sizeof out->token, line, err);
    }
    if (rc == 0 && !seen)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "there is no profile %.64s in it", profile);
    if (rc == 0 && (out->id[0] == '\0' || out->secret[0] == '\0'))
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "the profile %.64s has no aws_access_key_id with an aws_secret_access_key", profile);
    return rc;
}
