package lab;

import lab.api.*;
import org.apache.dubbo.config.*;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;

import java.util.*;

public class Provider {
    static int svcs;
    static <T> ServiceConfig<T> svc(Class<T> itf, T ref, String group, String version) {
        ServiceConfig<T> s = new ServiceConfig<>();
        s.setId("svc-" + ++svcs);
        s.setInterface(itf); s.setRef(ref);
        if (group != null) s.setGroup(group);
        if (version != null) s.setVersion(version);
        s.setRegistry(Lab.noRegistry());
        return s;
    }
    public static void main(String[] a) throws Exception {
        Lab.quiet();
        ProtocolConfig p = new ProtocolConfig(Lab.PROTOCOL, Lab.PORT);
        p.setHost(Lab.HOST);
        p.setSerialization(Lab.SERIALIZATION);
        p.setParameters(Lab.beat());
        // application, registry N/A and protocol are global; every service is exported by itself, bootstrap.start() is not called
        DubboBootstrap.getInstance().application(Lab.app("lab-provider")).registry(Lab.noRegistry()).protocol(p);
        List<ServiceConfig<?>> all = new ArrayList<>();
        all.add(svc(DemoService.class, new DemoServiceImpl(""), null, null));
        all.add(svc(DemoService.class, new DemoServiceImpl(Lab.GROUP + ":"), Lab.GROUP, Lab.VERSION));
        if (Lab.CALLBACK) {
            ServiceConfig<CallbackService> c = svc(CallbackService.class, new CallbackServiceImpl(), null, null);
            c.setMethods(new ArrayList<>(Collections.singletonList(Lab.callbackMethod())));
            c.setParameters(new HashMap<>(Collections.singletonMap("subscribe.subscribe", "1"))); // 3.x: URLParam.hasMethodParameter looks for this
            all.add(c);
        }
        for (ServiceConfig<?> s : all) s.export();
        System.out.println("READY " + Lab.PROTOCOL + " " + Lab.HOST + ":" + Lab.PORT + " startMs=" + (System.currentTimeMillis() - Lab.T0));
        System.out.flush();
        Thread.sleep(Long.getLong("lab.lifeMs", 600_000L));
        System.exit(0);
    }
}
