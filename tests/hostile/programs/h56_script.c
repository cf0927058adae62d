#!/bin/sh
echo held
