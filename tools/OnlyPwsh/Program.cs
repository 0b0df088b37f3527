// Its place is taken by PowerShell's own pwsh.dll.
return 1;
