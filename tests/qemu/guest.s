# SPDX-License-Identifier: Apache-2.0
# A guest in one boot sector, for SeaBIOS and QEMU's machine "pc" (i440fx). It counts its virtio disks, says so on the
# serial console, sleeps, lets go of disks that are unplugged, and turns itself off at the power button: a guest that
# does not would make Nova's soft reboot a hard one after two minutes.
.code16
.globl _start

.set COM1, 0x3f8
.set PCI_ADDRESS, 0xcf8
.set PCI_DATA, 0xcfc
.set VIRTIO_BLOCK, 0x10011af4           # device and vendor
.set PM1_STATUS, 0x600                  # where SeaBIOS puts the PIIX4's power management
.set PM1_ENABLE, 0x602
.set PM1_CONTROL, 0x604
.set POWER_BUTTON, 0x0100
.set SLEEP_S5, 0x2000
.set HOTPLUG_DOWN, 0xae04               # QEMU's ACPI PCI hotplug: slots that shall go, slots to eject, bus
.set HOTPLUG_EJECT, 0xae08
.set HOTPLUG_BUS, 0xae10

_start:
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7c00, %sp
    mov $booted, %si
    call print

    xor %cl, %cl
    mov $0x80000000, %eax               # bus 0, slot 0, function 0, register 0
    mov $32, %bx
next_slot:
    mov $PCI_ADDRESS, %dx
    push %eax
    outl %eax, %dx
    mov $PCI_DATA, %dx
    inl %dx, %eax
    cmp $VIRTIO_BLOCK, %eax
    jne not_a_disk
    inc %cl
not_a_disk:
    pop %eax
    add $0x800, %eax
    dec %bx
    jnz next_slot
    mov %cl, %al
    add $'0', %al
    call print_character
    mov $line_end, %si
    call print

    mov $PM1_ENABLE, %dx
    mov $POWER_BUTTON, %ax
    outw %ax, %dx
    sti
sleep:
    hlt
    xor %eax, %eax
    mov $HOTPLUG_BUS, %dx
    outl %eax, %dx
    mov $HOTPLUG_DOWN, %dx
    inl %dx, %eax
    test %eax, %eax
    jz nothing_unplugged
    mov $HOTPLUG_EJECT, %dx
    outl %eax, %dx
nothing_unplugged:
    mov $PM1_STATUS, %dx
    inw %dx, %ax
    test $(POWER_BUTTON >> 8), %ah
    jz sleep
    mov $PM1_CONTROL, %dx
    mov $SLEEP_S5, %ax
    outw %ax, %dx
    jmp sleep

print_character:
    mov $COM1, %dx
    outb %al, %dx
    ret

print:
    lodsb
    test %al, %al
    jz printed
    call print_character
    jmp print
printed:
    ret

booted: .asciz "\r\nBOOTED disks="
line_end: .asciz "\r\n"

.org 510
.word 0xaa55
