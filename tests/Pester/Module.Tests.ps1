# What holds for the module as a whole, and that every part of it has been tried in the files beside this.
BeforeDiscovery {
    Import-Module (& $PSScriptRoot/Get-TestModule.ps1)
    $commands = Get-Command -Module WandbLaunch | ForEach-Object { @{ Name = $_.Name; Noun = $_.Noun } }
}

BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome
    $used = @{}
    $sets = @{}

    # The calls of a cmdlet in the file of its noun: the parameters of each, and whether it has words without a name.
    function Get-Call {
        param([string] $Name, [string] $Noun)
        $ast = [Management.Automation.Language.Parser]::ParseFile((Join-Path $PSScriptRoot "$Noun.Tests.ps1"), [ref]$null, [ref]$null)
        # What goes to another pwsh or runspace is text here, and code there.
        $texts = $ast.FindAll({ $args[0] -is [Management.Automation.Language.StringConstantExpressionAst] -or $args[0] -is [Management.Automation.Language.ExpandableStringExpressionAst] }, $true).Value
        $all = @($ast) + @($texts -match [regex]::Escape($Name) | ForEach-Object { [Management.Automation.Language.Parser]::ParseInput($_, [ref]$null, [ref]$null) })
        foreach ($command in $all.FindAll({ $args[0] -is [Management.Automation.Language.CommandAst] }, $true)) {
            if ($command.GetCommandName() -eq $Name) {
                , @($command.CommandElements | Where-Object { $_ -is [Management.Automation.Language.CommandParameterAst] } | ForEach-Object ParameterName)
            }
        }
    }
}
AfterAll { Stop-TestHome }

Describe 'the module' {
    It 'exports no more than cmdlets and five short names' {
        $module = Get-Module WandbLaunch
        $module.ExportedFunctions.Count + $module.ExportedVariables.Count | Should -Be 0
        $module.ExportedAliases.Keys | Sort-Object | Should -Be awq, gwl, gwq, gwr, swl
        (Get-Alias awq, gwl, gwq, gwr, swl).Definition | Should -Be Add-WandbLaunchQueueItem, Get-WandbLaunch, Get-WandbLaunchQueueItem, Get-WandbRun, Start-WandbLaunch
        $module.ExportedCmdlets.Count | Should -BeGreaterThan 30
    }

    It 'takes no name that PowerShell or the machine has' {
        Invoke-Pwsh "Remove-Module WandbLaunch; Get-Command awq, gwl, gwq, gwr, swl -ErrorAction Ignore | ForEach-Object Name" | Should -BeNullOrEmpty
        (Get-Help gwr | Out-String) | Should -Match 'Get-WandbRun(.|\n)*Alias: gwr'
    }

    It 'imports, goes and comes again' {
        Invoke-Pwsh "Remove-Module WandbLaunch; Import-Module '$env:WANDBLAUNCH_MODULE' -Force; (New-WandbLaunchConfig x).uri" | Should -Be x
    }
}

Describe '<Name>' -ForEach $commands {
    It 'is tried in the file of its noun' {
        Join-Path $PSScriptRoot "$Noun.Tests.ps1" | Should -Exist
        @(Get-Call $Name $Noun).Count | Should -BeGreaterThan 0
    }

    It 'is tried in each of its parameter sets' {
        $command = Get-Command $Name
        $calls = @(Get-Call $Name $Noun)
        foreach ($set in $command.ParameterSets) {
            $others = $command.ParameterSets | Where-Object Name -NE $set.Name
            $own = $set.Parameters.Name | Where-Object { $_ -notin $others.Parameters.Name }
            $foreign = $others.Parameters.Name | Where-Object { $_ -notin $set.Parameters.Name }
            $hits = $calls | Where-Object {
                $names = $_
                -not ($names | Where-Object { $_ -in $foreign }) -and ($set.IsDefault -or -not $others -or ($names | Where-Object { $_ -in $own }))
            }
            @($hits).Count + @($calls | Where-Object { $_.Count -eq 0 -and ($set.IsDefault -or -not $others) }).Count | Should -BeGreaterThan 0 -Because "the set $($set.Name) must be tried"
        }
    }

    It 'says with -WhatIf what it would do, where it changes something' {
        $names = (Get-Command $Name).Parameters.Keys
        if ($names -contains 'WhatIf') { @(Get-Call $Name $Noun) | ForEach-Object { $_ } | Should -Contain WhatIf }
    }

    It 'gives what it changed: always, or with -PassThru, which is tried' {
        $command = Get-Command $Name
        if ($command.Parameters.ContainsKey('WhatIf')) {
            $command.OutputType.Count | Should -BeGreaterThan 0
            if ($command.Parameters.ContainsKey('PassThru')) {
                @(Get-Call $Name $Noun) | ForEach-Object { $_ } | Should -Contain PassThru
            } else {
                # These write what they made, got or connected to in any case.
                $command.Verb | Should -BeIn Add, Backup, Connect, Get, Import, New, Register, Restore, Start
            }
        }
    }

    It 'has help with an example' {
        @((Get-Help $Name -Full).examples.example).Count | Should -BeGreaterThan 1
    }
}
