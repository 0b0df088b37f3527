using System.IO.Pipes;
using System.Management.Automation;
using System.Text;
using System.Text.Json.Nodes;
using System.Xml;
using System.Xml.Linq;
using System.Xml.Schema;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.LocalServer;
using WandbLaunch.Resources;
using WandbLaunch.Tests;

namespace WandbLaunch.WindowsTests;

/// <summary>The module in its shell, the local server, the Task Scheduler's definitions, and Docker's pipe.</summary>
public sealed class MachineTests
{
    private static readonly XNamespace Task2 = "http://schemas.microsoft.com/windows/2004/02/mit/task";

    [Fact]
    public void Every_cmdlet_of_the_module_loads()
    {
        var manifest = Path.Combine(Fixture.Module, "WandbLaunch.psd1");
        var named = System
            .Text.RegularExpressions.Regex.Matches(File.ReadAllText(manifest), "'([A-Z][a-z]+-Wandb\\w*)'")
            .Select(m => m.Groups[1].Value)
            .Order(StringComparer.Ordinal)
            .ToList();
        Assert.True(named.Count > 30);
        var loaded = Windows
            .Shell.Ok("Get-Command -Module WandbLaunch -CommandType Cmdlet")
            .Select(o => ((CmdletInfo)o.BaseObject).Name)
            .Order(StringComparer.Ordinal);
        Assert.Equal(named, loaded);
        Assert.True((bool)Windows.Shell.Ok("$IsWindows").Single().BaseObject);
    }

    [Fact]
    public void The_local_server_starts_answers_and_stops()
    {
        using var shell = new Shell(connect: false);
        var path = Path.Combine(Fixture.NewFolder("server"), "ä b", "wandb.db");
        var server = (LaunchServerInfo)
            shell.Ok("Start-WandbLaunchServer -Path $path", ("path", path)).Single().BaseObject;
        try
        {
            Assert.True(server.Running);
            Assert.Equal(path, server.Path);
            shell.Ok(
                "Connect-Wandb -Local -Path $path | Out-Null; New-WandbRunQueue -Name gpu | Out-Null",
                ("path", path)
            );
            Assert.Single(shell.Ok("Get-WandbRunQueue gpu"));

            // Another one is refused while this one has the database: the same server is given.
            var again = (LaunchServerInfo)
                shell.Ok("Start-WandbLaunchServer -Path $path", ("path", path)).Single().BaseObject;
            Assert.Equal(server.ProcessId, again.ProcessId);
        }
        finally
        {
            shell.Ok("Stop-WandbLaunchServer -Path $path -Confirm:$false", ("path", path));
        }

        Assert.False(Windows.IsAlive(server.ProcessId));

        // Nothing holds its files any more, which Windows would not let go.
        Directory.Delete(Path.GetDirectoryName(path)!, true);
    }

    [Theory]
    [InlineData(null, false, false, "LogonTrigger", "InteractiveToken")]
    [InlineData(null, true, false, "BootTrigger", "S4U")]
    [InlineData("DOMAIN\\launcher", true, true, "BootTrigger", "Password")]
    [InlineData("DOMAIN\\launcher", true, false, "BootTrigger", "S4U")]
    [InlineData("DOMAIN\\managed$", true, false, "BootTrigger", "Password")]
    [InlineData("NT SERVICE\\launcher", true, false, "BootTrigger", null)]
    [InlineData("NETWORK SERVICE", true, false, "BootTrigger", null)]
    [InlineData("NT AUTHORITY\\SYSTEM", true, false, "BootTrigger", null)]
    public void A_task_is_as_the_task_scheduler_takes_it(
        string? account,
        bool machineWide,
        bool hasPassword,
        string trigger,
        string? logon
    )
    {
        var service = AgentServices.Of(
            AgentServiceKind.ScheduledTask,
            new ServicePlace(@"C:\Users\me", @"C:\Users\me\AppData\Local\WandbLaunch", machineWide)
        );
        var definition = service.Define(
            new AgentServiceRequest(
                "gpu",
                AgentConfig.Resolve(
                    new LaunchEnvironment { Home = Fixture.NewFolder("task-home"), Variable = _ => null },
                    null,
                    (JsonObject)JsonNode.Parse("""{ "queues": ["a", "b & c"], "entity": "me" }""")!
                ),
                [
                    @"C:\Program Files\dotnet\dotnet.exe",
                    @"C:\My Modules\lib\WandbLaunch.Host.dll",
                    "agent",
                    @"C:\x y\gpu.yaml",
                ],
                account,
                new Dictionary<string, string> { ["WANDBLAUNCH_HOME"] = @"D:\launch data\" },
                hasPassword
            )
        );
        Validate(definition.Content);
        var task = XDocument
            .Parse(definition.Content[(definition.Content.IndexOf('\n', StringComparison.Ordinal) + 1)..])
            .Root!;
        var settings = task.Element(Task2 + "Settings")!;
        Assert.Equal(trigger, task.Element(Task2 + "Triggers")!.Elements().Single().Name.LocalName);
        var principal = task.Element(Task2 + "Principals")!.Elements().Single();
        Assert.Equal(logon, principal.Element(Task2 + "LogonType")?.Value);
        Assert.NotEmpty(principal.Element(Task2 + "UserId")!.Value);
        Assert.Equal("LeastPrivilege", principal.Element(Task2 + "RunLevel")!.Value);
        Assert.Equal("PT0S", settings.Element(Task2 + "ExecutionTimeLimit")!.Value);
        Assert.Equal("IgnoreNew", settings.Element(Task2 + "MultipleInstancesPolicy")!.Value);
        Assert.Equal("false", settings.Element(Task2 + "IdleSettings")!.Element(Task2 + "StopOnIdleEnd")!.Value);
        Assert.Equal("false", settings.Element(Task2 + "RunOnlyIfIdle")!.Value);
        Assert.Equal("false", settings.Element(Task2 + "DisallowStartIfOnBatteries")!.Value);
        Assert.Equal(
            ("PT1M", "255"),
            (
                settings.Element(Task2 + "RestartOnFailure")!.Element(Task2 + "Interval")!.Value,
                settings.Element(Task2 + "RestartOnFailure")!.Element(Task2 + "Count")!.Value
            )
        );
        Assert.Equal(
            trigger == "BootTrigger" ? "PT15S" : null,
            task.Descendants(Task2 + "Delay").SingleOrDefault()?.Value
        );

        // What the C runtime makes of the arguments; the task has no variables, so the data folder is among them.
        var exec = task.Descendants(Task2 + "Exec").Single();
        Assert.Equal(@"C:\Program Files\dotnet\dotnet.exe", exec.Element(Task2 + "Command")!.Value);
        Assert.Equal(
            """
            "C:\My Modules\lib\WandbLaunch.Host.dll" agent "C:\x y\gpu.yaml" --home "D:\launch data\\"
            """,
            exec.Element(Task2 + "Arguments")!.Value
        );
        Assert.DoesNotContain(
            "assword>",
            definition.Content.Replace("LogonType>Password", "", StringComparison.Ordinal),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Registering_an_agent_shows_all_of_it_first()
    {
        var definition = (AgentServiceDefinition)
            Windows
                .Shell.Ok("Register-WandbLaunchAgent -Name shown -Queue q1,q2 -MaxJobs 3 -WhatIf")
                .Single()
                .BaseObject;
        Assert.Equal((AgentServiceKind.ScheduledTask, @"\WandbLaunch\shown"), (definition.Kind, definition.Path));
        Validate(definition.Content);
        Assert.Contains("WandbLaunch.Host.dll", definition.Content, StringComparison.Ordinal);
        Assert.Contains("dotnet.exe</Command>", definition.Content, StringComparison.Ordinal);
        Assert.Contains("\"max_jobs\": 3", definition.ConfigContent, StringComparison.Ordinal);
        Assert.Contains("register the task", definition.Activation.Single(), StringComparison.Ordinal);
        Assert.False(File.Exists(definition.ConfigPath));
        Assert.EndsWith(@"\agents\shown\launch-config.yaml", definition.ConfigPath, StringComparison.Ordinal);
    }

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

    [Fact]
    public async Task Docker_is_reached_by_its_named_pipe()
    {
        var name = "wandblaunch-test-" + Guid.NewGuid().ToString("n");
        using var end = new CancellationTokenSource();
        var asked = new List<string>();
        var engine = ServeAsync(name, asked, end.Token);
        var (client, endpoint) = await DockerEngine.ConnectAsync("npipe://./pipe/" + name, default);
        using (client)
        {
            Assert.Equal("npipe://./pipe/" + name, endpoint.Address);
            var version = await client.System.GetVersionAsync(default);
            Assert.Equal("24.0-fake", version.Version);
        }

        await end.CancelAsync();
        await engine;
        Assert.Contains(asked, l => l.Contains("/version", StringComparison.Ordinal));
    }

    // An engine with two answers.
    private static async Task ServeAsync(string name, List<string> asked, CancellationToken end)
    {
        var connections = new List<Task>();
        try
        {
            while (true)
            {
                var pipe = new NamedPipeServerStream(
                    name,
                    PipeDirection.InOut,
                    NamedPipeServerStream.MaxAllowedServerInstances,
                    PipeTransmissionMode.Byte,
                    PipeOptions.Asynchronous
                );
                await pipe.WaitForConnectionAsync(end);
                connections.Add(AnswerAsync(pipe, asked, end));
            }
        }
        catch (OperationCanceledException)
        {
            await Task.WhenAll(connections);
        }
    }

    private static async Task AnswerAsync(NamedPipeServerStream pipe, List<string> asked, CancellationToken end)
    {
        await using (pipe)
        {
            try
            {
                using var reader = new StreamReader(pipe, Encoding.ASCII, false, 1024, true);
                while (await reader.ReadLineAsync(end) is { } line)
                {
                    lock (asked)
                    {
                        asked.Add(line);
                    }

                    while (await reader.ReadLineAsync(end) is { Length: > 0 }) { }

                    var body = line.Contains("/version", StringComparison.Ordinal)
                        ? """{ "Version": "24.0-fake", "ApiVersion": "1.43", "MinAPIVersion": "1.24", "Os": "windows" }"""
                        : "OK";
                    await pipe.WriteAsync(
                        Encoding.ASCII.GetBytes(
                            $"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nApi-Version: 1.43\r\nOstype: linux\r\nContent-Length: {body.Length}\r\n\r\n{body}"
                        ),
                        end
                    );
                }
            }
            catch (Exception e) when (e is IOException or OperationCanceledException)
            {
                // The client is done.
            }
        }
    }
}
