using System.Diagnostics;
using System.Text.Json.Nodes;
using System.Xml;
using System.Xml.Schema;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;

namespace WandbLaunch.Tests;

/// <summary>Services of agents on the three platforms; each definition is read by what reads it there, or by its schema.</summary>
[Collection(ProcessCollection.Name)]
public sealed class AgentServiceTests
{
    private const string Secret = "0123456789abcdef0123456789abcdef01234567";

    // Blanks, quotes, and what each format takes for something else.
    private static readonly string[] Command =
    [
        "/opt/dot net/dotnet",
        "C:\\Program Files\\WandbLaunch\\lib\\",
        "agent",
        "50% of $HOME \"quoted\" & <tag>",
    ];

    private static AgentConfig Config() =>
        AgentConfig.Resolve(
            new LaunchEnvironment { Home = Fixture.NewFolder("service-home"), Variable = _ => null },
            null,
            (JsonObject)
                JsonNode.Parse(
                    $$"""{ "queues": ["a", "b & c"], "entity": "me", "api_key": "{{Secret}}", "webhook": "https://hooks.example.org/{{Secret}}", "environment_variables": { "MY_TOKEN": "my-secret-token", "PLAIN": "1" } }"""
                )!
        );

    private static AgentServiceDefinition Define(
        AgentServiceKind kind,
        bool machineWide = false,
        string? account = null
    ) =>
        AgentServices
            .Of(kind, new ServicePlace("/home/me", "/home/me/data", machineWide))
            .Define(
                new AgentServiceRequest(
                    "gpu",
                    Config(),
                    Command,
                    account,
                    new Dictionary<string, string> { ["WANDBLAUNCH_HOME"] = "/data dir" }
                )
            );

    private static void Validate(string xml)
    {
        var schemas = new XmlSchemaSet();
        schemas.Add(null, Path.Combine(AppContext.BaseDirectory, "data", "scheduled-task.xsd"));
        var settings = new XmlReaderSettings
        {
            ValidationType = ValidationType.Schema,
            Schemas = schemas,
            ValidationFlags = XmlSchemaValidationFlags.ReportValidationWarnings,
        };
        settings.ValidationEventHandler += (_, e) => throw e.Exception;
        using var reader = XmlReader.Create(new StringReader(xml), settings);
        while (reader.Read()) { }
    }

    [Theory]
    [InlineData(false, null, "LogonTrigger", "InteractiveToken")]
    [InlineData(true, "DOMAIN\\launcher", "BootTrigger", "S4U")]
    [InlineData(true, "DOMAIN\\managed$", "BootTrigger", "Password")]
    [InlineData(true, "NETWORK SERVICE", "BootTrigger", null)]
    public void A_scheduled_task_is_valid_by_the_schema_of_tasks(
        bool machineWide,
        string? account,
        string trigger,
        string? logon
    )
    {
        var definition = Define(AgentServiceKind.ScheduledTask, machineWide, account);
        Validate(definition.Content);
        Assert.Throws<XmlSchemaValidationException>(() =>
            Validate(definition.Content.Replace("PT1M", "PT1S", StringComparison.Ordinal))
        );
        Assert.Throws<XmlSchemaValidationException>(() =>
            Validate(definition.Content.Replace("RunLevel>", "Level>", StringComparison.Ordinal))
        );
        Assert.Contains(trigger, definition.Content, StringComparison.Ordinal);
        Assert.Equal(
            logon is not null,
            definition.Content.Contains($"<LogonType>{logon ?? ""}", StringComparison.Ordinal)
                || (logon is null && definition.Content.Contains("LogonType", StringComparison.Ordinal))
        );
        Assert.Contains("<RestartOnFailure>", definition.Content, StringComparison.Ordinal);
        Assert.Contains("<ExecutionTimeLimit>PT0S", definition.Content, StringComparison.Ordinal);
        Assert.Equal(@"\WandbLaunch\gpu", definition.Path);
    }

    [Fact]
    public void A_word_is_quoted_as_windows_reads_it_back()
    {
        Assert.Equal("plain", WindowsProcess.Quote("plain"));
        Assert.Equal("\"\"", WindowsProcess.Quote(""));
        Assert.Equal("\"C:\\dir with blank\\\\\"", WindowsProcess.Quote("C:\\dir with blank\\"));
        Assert.Equal("\"a \\\"b\\\" c\\\\\\\"d\"", WindowsProcess.Quote("a \"b\" c\\\"d"));
    }

    [Fact]
    public void A_unit_is_verified_by_systemd_itself()
    {
        var user = Define(AgentServiceKind.SystemdUnit);
        var machine = Define(AgentServiceKind.SystemdUnit, true, "root");
        Assert.Equal("/home/me/.config/systemd/user/wandb-launch-agent-gpu.service", user.Path);
        Assert.Equal("/etc/systemd/system/wandb-launch-agent-gpu.service", machine.Path);
        Assert.Contains("User=root\n", machine.Content, StringComparison.Ordinal);
        Assert.DoesNotContain("User=", user.Content, StringComparison.Ordinal);
        Assert.Contains("\"50%% of $$HOME \\\"quoted\\\" & <tag>\"", user.Content, StringComparison.Ordinal);
        Assert.Equal("systemctl --user enable wandb-launch-agent-gpu.service", user.Activation[1]);
        if (!File.Exists("/usr/bin/systemd-analyze"))
        {
            Assert.False(Environment.GetEnvironmentVariable("CI") == "true", "CI must have systemd-analyze");
            Assert.Skip("needs systemd-analyze");
        }

        var path = Path.Combine(Fixture.NewFolder("unit"), "wandb-launch-agent-gpu.service");

        // Its program must be there for systemd to agree.
        File.WriteAllText(path, machine.Content.Replace("/opt/dot net/dotnet", "/bin/true", StringComparison.Ordinal));
        var (code, output) = Run("systemd-analyze", "verify", "--man=no", path);
        Assert.True(code == 0 && !output.Contains("wandb-launch-agent-gpu", StringComparison.Ordinal), output);
        File.WriteAllText(path, machine.Content.Replace("Restart=", "Restrat=", StringComparison.Ordinal));
        Assert.Contains("Restrat", Run("systemd-analyze", "verify", "--man=no", path).Output, StringComparison.Ordinal);
    }

    [Fact]
    public void A_property_list_is_read_back_word_for_word()
    {
        var definition = Define(AgentServiceKind.LaunchdPropertyList);
        Assert.Equal("/home/me/Library/LaunchAgents/ai.wandb.launch.agent.gpu.plist", definition.Path);
        var path = Path.Combine(Fixture.NewFolder("plist"), "a.plist");
        File.WriteAllText(path, definition.Content);
        var (code, output) = Run(
            "python3",
            "-c",
            $"import plistlib, json; print(json.dumps(plistlib.load(open('{path}', 'rb'))))"
        );
        Assert.True(code == 0, output);
        var map = JsonNode.Parse(output)!;
        Assert.Equal(Command, map["ProgramArguments"]!.AsArray().Select(w => w!.ToString()));
        Assert.Equal(
            ("ai.wandb.launch.agent.gpu", "true", "false", "/data dir"),
            (
                map["Label"]!.ToString(),
                map["RunAtLoad"]!.ToString(),
                map["KeepAlive"]!["SuccessfulExit"]!.ToString(),
                map["EnvironmentVariables"]!["WANDBLAUNCH_HOME"]!.ToString()
            )
        );
    }

    [Theory]
    [InlineData(AgentServiceKind.SystemdUnit)]
    [InlineData(AgentServiceKind.LaunchdPropertyList)]
    [InlineData(AgentServiceKind.ScheduledTask)]
    public void No_secret_is_in_a_definition_or_shown(AgentServiceKind kind)
    {
        var definition = Define(kind);
        foreach (
            var shown in new[]
            {
                definition.Content,
                definition.ConfigContent,
                string.Join('\n', definition.Activation),
            }
        )
        {
            Assert.DoesNotContain(Secret, shown, StringComparison.Ordinal);
            Assert.DoesNotContain("my-secret-token", shown, StringComparison.Ordinal);
        }

        // The key is in no file; what the agent must have is in the private one.
        Assert.DoesNotContain("api_key", definition.ConfigText, StringComparison.Ordinal);
        Assert.Contains("my-secret-token", definition.ConfigText, StringComparison.Ordinal);
    }

    [Fact]
    public void The_cmdlets_write_show_and_remove_a_service()
    {
        using var shell = new Shell();
        var definition = (AgentServiceDefinition)
            Assert
                .Single(
                    shell.Ok(
                        "Register-WandbLaunchAgent -Name svc-test -Queue q1,q2 -MaxJobs 3 -AllowGitHost git.example.org -WhatIf"
                    )
                )
                .BaseObject;
        Assert.False(File.Exists(definition.Path));
        Assert.Contains("WandbLaunch.Host.dll", definition.Content, StringComparison.Ordinal);
        Assert.Contains("\"max_jobs\": 3", definition.ConfigContent, StringComparison.Ordinal);
        Assert.Contains(Fixture.Server.Url, definition.ConfigContent, StringComparison.Ordinal);
        shell.Fails("Register-WandbLaunchAgent -Name svc-test -User somebody -WhatIf", "AccountWithoutSystem");
        shell.Fails(
            "Register-WandbLaunchAgent -Name svc-test -MaxJobs 3 -Webhook http://example.org/ -WhatIf",
            "AgentConfigInvalid"
        );
        shell.Fails("Unregister-WandbLaunchAgent -Name svc-nope -Confirm:$false", "ServiceNotFound");

        // With a vault the agent runs in pwsh, which reads the key itself.
        var folder = Fixture.NewFolder("path");
        var path = Environment.GetEnvironmentVariable("PATH");
        var pwsh = Path.Combine(folder, OperatingSystem.IsWindows() ? "pwsh.exe" : "pwsh");
        File.WriteAllText(pwsh, "");
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(pwsh, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        }

        try
        {
            Environment.SetEnvironmentVariable("PATH", folder + Path.PathSeparator + path);
            var secret = (AgentServiceDefinition)
                Assert
                    .Single(
                        shell.Ok("Register-WandbLaunchAgent -Name svc-test -SecretName \"it's mine\" -Vault v -WhatIf")
                    )
                    .BaseObject;
            Assert.Contains(
                "-SecretName 'it''s mine' -Vault 'v'; Start-WandbLaunchAgent",
                secret.Content,
                StringComparison.Ordinal
            );
            Assert.DoesNotContain(Fixture.Key, secret.Content + secret.ConfigText, StringComparison.Ordinal);
        }
        finally
        {
            Environment.SetEnvironmentVariable("PATH", path);
        }
    }

    private static (int Code, string Output) Run(string program, params string[] arguments)
    {
        using var process = Process.Start(
            new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true }
        )!;
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + error.Result);
    }
}
