# Writes files as C strings, for cli/sets/languages.c: their texts, one after the other under the name of each group.
#   awk -f embed.awk NAME FILE... [NAME FILE...]     a name is a word without a dot or a slash
function line(s) {
    gsub(/\\/, "&&", s); gsub(/"/, "\\\"", s); gsub(/\t/, "\\t", s)
    return "    \"" s "\\n\"\n"
}
BEGIN {
    print "#include \"cli/sets/sets.h\"\n"
    for (i = 1; i < ARGC; i++) {
        if (ARGV[i] !~ /[.\/]/) {
            printf "%sconst char %s[] =\n", (i > 1 ? "    ;\n" : ""), ARGV[i]
            continue
        }
        while ((rc = (getline s < ARGV[i])) > 0)
            printf "%s", line(s)
        if (rc < 0) {
            print "embed.awk: cannot read " ARGV[i] > "/dev/stderr"
            exit 1
        }
        close(ARGV[i])
    }
    print "    ;"
}
