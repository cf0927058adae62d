@ELF@
