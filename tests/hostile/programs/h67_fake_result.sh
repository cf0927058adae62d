# The build speaks them too, and leaves a forged artefact beside the true one.
printf '\230\001\0\0\003\0\0\0' ; head -c 440 /dev/zero
printf 'assay-artefact-1\nmain\000755\0009999999\000x' > main
mkdir -p .new store && echo 0000000000000000000000000000000000000000000000000000000000000000 > .new/x
for fd in 3 4 5 6 7 8 9; do echo forged >&$fd; done 2> /dev/null
exit 0
