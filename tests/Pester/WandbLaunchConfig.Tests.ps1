BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome
    $folder = New-TestFolder
}
AfterAll { Stop-TestHome }

Describe 'New-WandbLaunchConfig' {
    It 'makes a config that ConvertTo-Json turns into a valid file' {
        $path = Join-Path $PWD launch.json
        New-WandbLaunchConfig $folder -Argument @{ lr = 0.1 } -Resource local-process | ConvertTo-Json -Depth 9 | Set-Content $path
        (Start-WandbLaunch -Config $path -Quiet | Receive-WandbLaunchLog) | Should -Be "['--lr', '0.1']"
    }

    It 'writes each parameter under W&B''s own key' {
        $config = New-WandbLaunchConfig -Uri https://github.com/me/train -Project p -Entity e -Name n -Resource local-container `
            -DockerImage image:1 -UserId 7 -DockerArgs @{ memory = '4g' } -Argument 'lr=0.1' -RunConfig @{ a = 1 } -EntryPoint python, main.py `
            -RunId abcd1234 -Cuda $true
        $config.project, $config.entity, $config.name, $config.resource, $config.run_id | Should -Be p, e, n, local-container, abcd1234
        $json = $config | ConvertTo-Json -Depth 9 | ConvertFrom-Json
        $json.docker.docker_image | Should -Be image:1
        $json.overrides.run_config.a | Should -Be 1
        $json.overrides.entry_point | Should -Be python, main.py
        "$($json.overrides.args)" | Should -Match 'lr.*0.1'
        $more = New-WandbLaunchConfig -GitRepo https://github.com/me/train -GitVersion dev -BaseImage python:3.12 -PythonVersion 3.12 -CudaVersion 12.4 -SystemPackage git -ResourceArgs @{ 'local-container' = @{ cpus = 2 } }
        $text = $more | ConvertTo-Json -Depth 9
        foreach ($word in 'dev', 'python:3.12', '12.4', 'cpus') { $text | Should -Match ([regex]::Escape($word)) }
        (New-WandbLaunchConfig -Job me/p/job-x:latest).job | Should -Be me/p/job-x:latest
    }

    It 'changes a config, from a text, a file and the pipeline' {
        (New-WandbLaunchConfig -Config '{"uri": "./train", "overrides": {"args": ["--lr", "0.1"]}}' -Argument lr=0.5).overrides.args -join ' ' | Should -Match '0\.5'
        ([pscustomobject]@{ uri = './a'; resource = 'local-process' } | New-WandbLaunchConfig -Name x).name | Should -Be x
        (0.1, 0.01 | ForEach-Object { New-WandbLaunchConfig ./train -Argument "lr=$_" -Name "lr $_" }).name | Should -Be 'lr 0.1', 'lr 0.01'
        (New-WandbLaunchConfig -InputObject @{ uri = './a' }).uri | Should -Be './a'
    }

    It 'takes a csv of arguments' {
        $csv = "lr,epochs`n0.1,1`n0.2,2" | ConvertFrom-Csv
        $runs = $csv | ForEach-Object { New-WandbLaunchConfig $folder -Argument @{ lr = $_.lr; epochs = $_.epochs } } | Start-WandbLaunch -Resource local-process -Quiet
        $runs.ExitCode | Should -Be 0, 0
        ($runs | Receive-WandbLaunchLog) | Should -Be "['--epochs', '1', '--lr', '0.1']", "['--epochs', '2', '--lr', '0.2']"
    }

    It 'says what cannot be' {
        (Get-Fault { New-WandbLaunchConfig -Config ./none.json }).Id | Should -BeIn ConfigNotFound, ConfigInvalid
        (Get-Fault { New-WandbLaunchConfig -Config '{"uri": ' }).Category | Should -BeIn InvalidArgument, InvalidData, ParserError
        (Get-Fault { New-WandbLaunchConfig ./train -Resource nothing }).Id | Should -Not -BeNullOrEmpty
    }

    It 'is shown, and completes' {
        New-WandbLaunchConfig ./train -Name n | Get-View | Should -Match 'Uri\s+Resource\s+Name\s+Project\s+Args'
        Get-Completion 'New-WandbLaunchConfig x -Resource local-p' | Should -Be local-process
    }
}
