namespace WandbLaunch.Server.Pages;

/// <summary>What the page is made of.</summary>
internal static class PageServices
{
    internal static IServiceCollection AddPage(this IServiceCollection services) =>
        services
            .AddSingleton<ChangeFeed>()
            .AddSingleton<PageQueues>()
            .AddSingleton<PageItems>()
            .AddSingleton<RunTable>()
            .AddSingleton<RunKeys>()
            .AddSingleton<RunHistory>()
            .AddSingleton<RunLog>()
            .AddSingleton<EventsEndpoint>()
            .AddSingleton<HomePages>()
            .AddSingleton<QueuePages>()
            .AddSingleton<ItemPages>()
            .AddSingleton<AgentPages>()
            .AddSingleton<SweepPages>()
            .AddSingleton<ArtifactPages>()
            .AddSingleton<RunPages>();

    internal static void MapPageData(this WebApplication app)
    {
        app.Services.GetRequiredService<EventsEndpoint>().Map(app);
        app.Services.GetRequiredService<HomePages>().Map(app);
        app.Services.GetRequiredService<QueuePages>().Map(app);
        app.Services.GetRequiredService<ItemPages>().Map(app);
        app.Services.GetRequiredService<AgentPages>().Map(app);
        app.Services.GetRequiredService<SweepPages>().Map(app);
        app.Services.GetRequiredService<ArtifactPages>().Map(app);
        app.Services.GetRequiredService<RunPages>().Map(app);
    }
}
